"""Two sweeps beside each other, on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.comparison import Change, Side, SweepComparison, is_apart
from orchestrator.display.fitting import Column, fitting_table
from orchestrator.display.scores import points
from orchestrator.tracking.naming import short_names

__all__ = ["print_sweep_comparison"]


def print_sweep_comparison(found: SweepComparison, console: Console) -> None:
    """What each is, whose place changed, what moved in words, what was different, and all of it in a sentence."""
    for name, side in (("a", found.a), ("b", found.b)):
        _print(_about(name, side), console)
    parts = ", ".join(f"{weight:g} {name}" for name, weight in found.weights.items())
    _print(f"score of both: {parts}", console)
    rows = found.comparison.table.to_pylist()
    for task in dict.fromkeys(row["task"] for row in rows):
        console.print()
        console.print(_task_table(task, [row for row in rows if row["task"] == task], console))
    for line in [*_legend(rows), *found.comparison.sentences]:
        _print(line, console)
    if found.changes:
        console.print()
        console.print(_change_table(found.changes, console))
    console.print()
    _print(found.closing, console)


def _print(line: str, console: Console) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def _about(name: str, side: Side) -> str:
    sweep = side.overview
    runs = "no readable runs" if sweep.runs is None else f"{sweep.runs} runs"
    failed = f", {sweep.failed} failed" if sweep.failed else ""
    backbones = f"{len(side.backbones)} backbone{'s' * (len(side.backbones) != 1)} on {', '.join(side.tasks)}"
    when = "" if sweep.created == "-" else f" of {sweep.created[:16].replace('T', ' ')} UTC"
    return f"{name}   {sweep.sweep}{when}: {sweep.state}, {runs}{failed} of {backbones}, code {side.code}"


def _task_table(task: str, rows: Sequence[Mapping[str, Any]], console: Console) -> Table:
    names = short_names([row["backbone"] for row in rows])
    columns = (
        Column(header="backbone", cells=[names[row["backbone"]] for row in rows], rank=0, justify="left"),
        Column(header="rank\na", cells=[_place(row, "a") for row in rows], rank=0),
        Column(header="rank\nb", cells=[_place(row, "b") for row in rows], rank=0),
        Column(header="moved", cells=[_moved(row) for row in rows], rank=0),
        Column(header="score\na", cells=[points(row["score_a"]) for row in rows], rank=1),
        Column(header="95 %\na", cells=[_interval(row, "a") for row in rows], rank=2),
        Column(header="score\nb", cells=[points(row["score_b"]) for row in rows], rank=1),
        Column(header="95 %\nb", cells=[_interval(row, "b") for row in rows], rank=2),
        Column(header="b - a", cells=[_signed(row["difference"]) for row in rows], rank=0),
        Column(header="95 %\nb - a", cells=[_difference(row) for row in rows], rank=0),
    )
    title = f"{task}: from a to b, in points"
    return fitting_table(columns, console.width, title=title, ascii_only=console.options.ascii_only)


def _change_table(changes: Sequence[Change], console: Console) -> Table:
    """Two columns of values beside each other; long ones are folded."""
    table = Table(box=None, padding=(0, 1), title="different about the sweeps", title_justify="left")
    table.title_style = "bold"
    table.add_column("", overflow="fold", header_style="dim", ratio=2)
    for side in ("a", "b"):
        table.add_column(side, overflow="fold", header_style="dim", ratio=1)
    for change in changes:
        table.add_row(*map(Text, (change.key, change.a, change.b)))
    return table


def _legend(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if any(row["rank_change"] is not None for row in rows):
        yield "Places are among the backbones that both rank; in brackets those it can still hold. moved +1 is a rise."
    if any(row["moved"] or is_apart(row) for row in rows):
        yield "! is more than the intervals allow for."


def _place(row: Mapping[str, Any], side: str) -> str:
    rank, low, high = (row[f"{name}_{side}"] for name in ("rank", "rank_low", "rank_high"))
    if rank is None:
        return "-"
    if low is None:
        return f"{rank} ?"
    return str(rank) if low == high else f"{rank} ({low}-{high})"


def _moved(row: Mapping[str, Any]) -> str:
    if row["rank_change"] is None:
        return f"only {row['status'][-1]}"
    if not row["rank_change"]:
        return "="
    return f"{-row['rank_change']:+d}" + (" !" if row["moved"] else "")


def _interval(row: Mapping[str, Any], side: str) -> str:
    low, high = row[f"ci_low_{side}"], row[f"ci_high_{side}"]
    return "-" if low is None else f"{points(low)} to {points(high)}"


def _difference(row: Mapping[str, Any]) -> str:
    low, high = row["difference_low"], row["difference_high"]
    return "-" if low is None else f"{_signed(low)} to {_signed(high)}" + (" !" if is_apart(row) else "")


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+z.1f}"
