"""Tables on stdout. Scores are shown in points of 100, as people say them; files hold fractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.display.board import describe
from orchestrator.ranking import Ranking
from orchestrator.tracking.naming import short_names

__all__ = ["print_ranking", "print_runs", "print_sweeps"]


def print_ranking(ranking: Ranking, console: Console) -> None:
    """One table per task, best first, then the verdict in words."""
    rows = ranking.table.to_pylist()
    for verdict in ranking.verdicts:
        of_task = [row for row in rows if row["task"] == verdict.task]
        console.print(_ranking_table(verdict.task, of_task))
        for sentence in verdict.sentences:
            console.print(sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)
        console.print()


def _ranking_table(task: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    names = short_names([row["backbone"] for row in rows])
    num_test = next((row["num_test"] for row in rows if row["num_test"]), None)
    metric = next((row["test_metric"] for row in rows if row["test_metric"]), "score")
    title = f"{task}: adaptability in points, chance 0, perfect 100"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1))
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("backbone", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    table.add_column(f"test {metric}\n(n = {num_test})", justify="right", no_wrap=True)
    table.add_column("freeze\ndepth", justify="right", no_wrap=True)
    table.add_column("lr", justify="right", no_wrap=True)
    table.add_column("head lr", justify="right", no_wrap=True)
    table.add_column("trials\n(stopped)", justify="right", no_wrap=True)
    table.add_column("cost s", justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: (row["rank"] is None, row["rank"] or 0, row["backbone"])):
        table.add_row(_rank(row), names[row["backbone"]], *_measured(row), *_spent(row))
    return table


def _rank(row: Mapping[str, Any]) -> str:
    """``1-3`` where the ranks cannot be told apart, ``-`` where there is too little to rank."""
    low, high = row["rank_low"], row["rank_high"]
    if low is None:
        return "-"
    return str(low) if low == high else f"{low}-{high}"


def _measured(row: Mapping[str, Any]) -> list[str]:
    rate = row["best_learning_rate"]
    head_rate = row["best_head_learning_rate"]
    depth = row["best_freeze_depth"]
    return [
        points(row["score"]),
        "-" if row["ci_low"] is None else f"{points(row['ci_low'])} to {points(row['ci_high'])}",
        points(row["confirmation_mean"])
        + ("" if row["confirmation_sd"] is None else f" ± {points(row['confirmation_sd'])}"),
        "-" if depth is None else f"{depth}/{row['num_blocks']}",
        "-" if rate is None else f"{rate:.1e}",
        "-" if head_rate is None else f"{head_rate:.1e}",
    ]


def _spent(row: Mapping[str, Any]) -> list[str]:
    failed = f", {row['num_failed']} failed" if row["num_failed"] else ""
    return [
        f"{row['num_trials']} ({row['num_stopped']}{failed})",
        "-" if row["cost_s"] is None else f"{row['cost_s']:.0f}",
    ]


def print_runs(trials: Iterable[Mapping[str, Any]], console: Console) -> None:
    """One line per run."""
    table = Table(box=None, padding=(0, 1))
    for column in ("#", "backbone", "phase", "state", "val", "configuration", "epochs", "s"):
        table.add_column(column, justify="left" if column in ("backbone", "phase", "state") else "right")
    for trial in trials:
        table.add_row(
            str(trial["number"]),
            trial["backbone"],
            trial["phase"],
            trial["state"],
            points(trial["val_score"]),
            describe(trial),
            f"{trial['epochs']}/{trial['max_epochs']}",
            f"{trial['duration_s']:.1f}",
        )
    console.print(table)


def print_sweeps(sweeps: Iterable[Mapping[str, Any]], console: Console) -> None:
    """One line per sweep."""
    table = Table(box=None, padding=(0, 1))
    for column in ("sweep", "runs", "failed", "leader", "created"):
        table.add_column(column, overflow="fold")
    for sweep in sweeps:
        table.add_row(*(str(sweep[key]) for key in ("sweep", "runs", "failed", "leader", "created")))
    console.print(table)


def points(fraction: float | None) -> str:
    """``91.3`` for 0.913."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"
