"""What is known of each backbone beside its place, on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.display.fitting import Column, fitting_table
from orchestrator.ranking import ProfileTables
from orchestrator.tracking.naming import short_names

if TYPE_CHECKING:
    from orchestrator.importance import Importance

__all__ = ["print_profiles"]


def print_profiles(profiled: ProfileTables, importances: Sequence[Importance], console: Console) -> None:
    """One table per task: what costs how much; then who leads at which spending, and which parameter mattered."""
    rows = profiled.profiles.to_pylist()
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        console.print(_table(task, of_task, console.width))
        lines = [*_spending(profiled.cost_leaders.to_pylist(), task)]
        lines += _mattering([one for one in importances if one.task == task])
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)
        console.print()


def _table(task: str, rows: Sequence[Mapping[str, Any]], width: int) -> Any:
    names = short_names([row["backbone"] for row in rows])

    def column(header: str, key: str, scale: float, digits: int, rank: int) -> Column:
        return Column(header=header, cells=[_value(row, key, scale, digits) for row in rows], rank=rank)

    columns = (
        Column(header="backbone", cells=[names[row["backbone"]] for row in rows], rank=0, justify="left"),
        column("decades of lr\nwithin a point", "lr_tolerance_decades", 1, 1, 0),
        column("points lost at\nthe worst depth", "depth_cost", 100, 1, 0),
        column("points lost\nas a probe", "probe_cost", 100, 1, 0),
        column("random trials to\nwithin a point", "cost_trials", 1, 0, 2),
        column("seconds\nof these", "cost_s", 1, 0, 1),
        Column(header="on the\nfront", cells=[_front(row) for row in rows], rank=1),
    )
    return fitting_table(columns, width, title=f"{task}: sensitivity and cost, with 95 % intervals")


def _value(row: Mapping[str, Any], key: str, scale: float, digits: int) -> str:
    if row[key] is None:
        return "-"
    text = f"{scale * row[key]:.{digits}f}"
    if row.get(f"{key}_low") is None:
        return text
    return f"{text} ({scale * row[f'{key}_low']:.{digits}f} to {scale * row[f'{key}_high']:.{digits}f})"


def _front(row: Mapping[str, Any]) -> str:
    return {None: "-", True: "yes", False: "no"}[row["on_pareto_front"]]


def _spending(leaders: Iterable[Mapping[str, Any]], task: str) -> list[str]:
    steps = [f"{row['backbone']} from {row['from_s']:.0f} s" for row in leaders if row["task"] == task]
    return [f"Best to expect of random search by what is spent on it: {', '.join(steps)}."] if steps else []


def _mattering(found: Sequence[Importance]) -> list[str]:
    """A line per backbone, each parameter beside a dummy."""
    lines = []
    for backbone in dict.fromkeys(one.backbone for one in found):
        own = sorted((one for one in found if one.backbone == backbone), key=lambda one: -one.importance)
        shares = [f"{one.parameter} {one.importance:.0%}{'' if one.is_shown else ' ?'}" for one in own]
        dummy = f"a dummy {own[0].dummy_mean:.0%}"
        lines.append(f"Mattered to {backbone}: {', '.join([*shares, dummy])} (? is no more than a dummy may have).")
    return lines
