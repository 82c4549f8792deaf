"""Tables on stdout. Scores are shown in points of 100, as people say them; files hold fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from orchestrator.display.board import describe, rate
from orchestrator.display.fitting import Column, fitting_table
from orchestrator.ranking import Ranking
from orchestrator.tracking.naming import blocks_text, short_names

__all__ = ["print_ranking", "print_runs", "print_sweeps"]

_METRICS: Final = {"r2": "R²"}


def print_ranking(ranking: Ranking, console: Console) -> None:
    """One table per task, best first, then the verdict in words."""
    rows = ranking.table.to_pylist()
    for verdict in ranking.verdicts:
        of_task = [row for row in rows if row["task"] == verdict.task]
        console.print(_ranking_table(verdict.task, of_task, console.width))
        for sentence in verdict.sentences:
            console.print(sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)
        console.print()


def _ranking_table(task: str, rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    rows = sorted(rows, key=lambda row: (row["rank"] is None, row["rank"] or 0, row["backbone"]))
    names = short_names([row["backbone"] for row in rows])
    num_test = next((row["num_test"] for row in rows if row["num_test"]), None)
    metric = next((row["test_metric"] for row in rows if row["test_metric"]), "score")

    def each(cell: Callable[[Mapping[str, Any]], str]) -> list[str]:
        return [cell(row) for row in rows]

    columns = (
        Column(header="rank", cells=each(_rank), rank=0),
        Column(header="backbone", cells=each(lambda row: names[row["backbone"]]), rank=0, justify="left"),
        Column(header="score", cells=each(lambda row: points(row["score"])), rank=0),
        Column(header="95 %", cells=each(_interval), rank=1),
        Column(header=f"test {_METRICS.get(metric, metric)}\n(n = {num_test})", cells=each(_confirmed), rank=3),
        Column(header="freeze\ndepth", cells=each(_depth), rank=1),
        Column(header="lr", cells=each(lambda row: rate(row["best_learning_rate"])), rank=2),
        Column(header="head lr", cells=each(lambda row: rate(row["best_head_learning_rate"])), rank=5),
        Column(header="trials\n(stopped)", cells=each(_trials), rank=6),
        Column(header="cost s", cells=each(_cost), rank=4),
    )
    return fitting_table(columns, width, title=f"{task}: adaptability in points, chance 0, perfect 100")


def _rank(row: Mapping[str, Any]) -> str:
    """``1-3`` where the ranks cannot be told apart, ``-`` where there is too little to rank."""
    low, high = row["rank_low"], row["rank_high"]
    if low is None:
        return "-"
    return str(low) if low == high else f"{low}-{high}"


def _interval(row: Mapping[str, Any]) -> str:
    return "-" if row["ci_low"] is None else f"{points(row['ci_low'])} to {points(row['ci_high'])}"


def _confirmed(row: Mapping[str, Any]) -> str:
    """Mean and standard deviation over the confirmations: in points, an R² as the fraction people say."""
    shown = _fraction if row["test_metric"] == "r2" else points
    spread = "" if row["confirmation_sd"] is None else f" ± {shown(row['confirmation_sd'])}"
    return shown(row["confirmation_mean"]) + spread


def _depth(row: Mapping[str, Any]) -> str:
    if row["best_freeze_depth"] is None:
        return "-"
    return blocks_text(row["best_freeze_depth"], row["best_tune_stop"], row["num_blocks"])


def _trials(row: Mapping[str, Any]) -> str:
    failed = f", {row['num_failed']} failed" if row["num_failed"] else ""
    return f"{row['num_trials']} ({row['num_stopped']}{failed})"


def _cost(row: Mapping[str, Any]) -> str:
    return "-" if row["cost_s"] is None else f"{row['cost_s']:.0f}"


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


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def points(fraction: float | None) -> str:
    """``91.3`` for 0.913."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"
