"""Tables on stdout. Scores are shown in points of 100, as people say them; files hold fractions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from orchestrator.display.fitting import Column, fitting_table
from orchestrator.display.scores import metric_name, points, score_text
from orchestrator.display.words import rate
from orchestrator.ranking import Ranking, aggregate
from orchestrator.spelling import spelled
from orchestrator.tracking.naming import blocks_text, short_names

__all__ = ["print_ranking"]

_CONDITIONS: Final = {
    "ease": "few\ntrials",
    "data_efficiency": "few\nlabels",
    "robustness": "perturbed\ninputs",
}


def print_ranking(ranking: Ranking, console: Console) -> None:
    """One table per task, best first, then the verdict in words; over several tasks one more."""
    rows = ranking.table.to_pylist()
    for verdict in ranking.verdicts:
        of_task = [row for row in rows if row["task"] == verdict.task]
        console.print(_ranking_table(verdict.task, of_task, console))
        _print_sentences(verdict.sentences, console)
    if len(ranking.scores) > 1:
        over_all = aggregate(ranking)
        console.print(_aggregate_table(over_all.table.to_pylist(), len(ranking.scores), console))
        _print_sentences(over_all.sentences, console)


def _print_sentences(sentences: Iterable[str], console: Console) -> None:
    for sentence in sentences:
        text = spelled(sentence) if console.options.ascii_only else sentence
        console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    console.print()


def _fitted(columns: Sequence[Column], console: Console, title: str) -> Table:
    return fitting_table(columns, console.width, title=title, ascii_only=console.options.ascii_only)


def _ranking_table(task: str, rows: Sequence[Mapping[str, Any]], console: Console) -> Table:
    rows = sorted(rows, key=lambda row: (row["rank"] is None, row["rank"] or 0, row["backbone"]))
    names = short_names([row["backbone"] for row in rows])
    num_test = next((row["num_test"] for row in rows if row["num_test"]), None)
    metric = next((row["test_metric"] for row in rows if row["test_metric"]), "score")
    tested = f"test {metric_name(metric)}" + ("" if num_test is None else f"\n(n = {num_test})")
    each = partial(_each, rows)
    # What was never measured has no column.
    conditions = [
        Column(header=header, cells=each(_points_of(name)), rank=2)
        for name, header in _CONDITIONS.items()
        if any(row[name] is not None for row in rows)
    ]
    tried = (
        Column(header="freeze\ndepth", cells=each(_depth), rank=1),
        Column(header="lr", cells=each(lambda row: rate(row["best_learning_rate"])), rank=2),
        Column(header="head lr", cells=each(lambda row: rate(row["best_head_learning_rate"])), rank=5),
        Column(header="trials\n(stopped)", cells=each(_trials), rank=6),
        Column(header="cost s", cells=each(_cost), rank=4),
        *([Column(header="coverage", cells=each(_coverage), rank=2)] if any(_is_short(row) for row in rows) else []),
    )
    columns = (
        Column(header="rank", cells=each(_rank), rank=0),
        Column(header="backbone", cells=each(lambda row: names[row["backbone"]]), rank=0, justify="left"),
        Column(header="score", cells=each(lambda row: points(row["score"])), rank=0),
        Column(header="95 %", cells=each(_interval), rank=1),
        Column(header="as\nfound", cells=each(_found), rank=5),
        Column(header="P(best)", cells=each(lambda row: _percent(row["p_best"])), rank=3),
        Column(header=tested, cells=each(_confirmed), rank=3),
        *conditions,
        *(tried if any(row["num_trials"] for row in rows) else ()),
    )
    return _fitted(columns, console, f"{task}: adaptability in points, chance 0, perfect 100")


def _aggregate_table(rows: Sequence[Mapping[str, Any]], num_tasks: int, console: Console) -> Table:
    names = short_names([row["backbone"] for row in rows])
    each = partial(_each, rows)
    columns = (
        Column(header="rank", cells=each(_rank), rank=0),
        Column(header="backbone", cells=each(lambda row: names[row["backbone"]]), rank=0, justify="left"),
        Column(header="mean", cells=each(lambda row: points(row["anchored_mean"])), rank=0),
        Column(header="95 %", cells=each(_interval), rank=1),
        Column(header="z-score", cells=each(lambda row: _signed(row["mean_z_score"])), rank=3),
        Column(header="mean\nrank", cells=each(lambda row: _plain(row["mean_rank"])), rank=2),
        Column(header="Bradley-\nTerry", cells=each(lambda row: _signed(row["bradley_terry"])), rank=3),
        Column(header="missing", cells=each(lambda row: ", ".join(row["missing_tasks"]) or "-"), rank=4),
    )
    return _fitted(columns, console, f"all {num_tasks} tasks: mean adaptability in points")


def _points_of(column: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: points(row[column])


def _each(rows: Sequence[Mapping[str, Any]], cell: Callable[[Mapping[str, Any]], str]) -> list[str]:
    return [cell(row) for row in rows]


def _rank(row: Mapping[str, Any]) -> str:
    """``1-3`` where the ranks cannot be told apart, ``2 ?`` where nothing but the order is known, ``-`` where there
    is too little to rank."""
    low, high = row["rank_low"], row["rank_high"]
    if low is None:
        return "-" if row["rank"] is None else f"{row['rank']} ?"
    return str(low) if low == high else f"{low}-{high}"


def _found(row: Mapping[str, Any]) -> str:
    """The same of the tuned configurations as they were found, without what more tuning might find."""
    low, high = row["found_rank_low"], row["found_rank_high"]
    if low is None:
        return "-"
    return str(low) if low == high else f"{low}-{high}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _signed(value: float | None, scale: float = 1.0) -> str:
    return "-" if value is None else f"{scale * value:+z.{1 if scale > 1 else 2}f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _interval(row: Mapping[str, Any]) -> str:
    return "-" if row["ci_low"] is None else f"{points(row['ci_low'])} to {points(row['ci_high'])}"


def _confirmed(row: Mapping[str, Any]) -> str:
    """Mean and standard deviation over the confirmations: in points, an R² as the fraction people say."""
    mean, sd, metric = row["confirmation_mean"], row["confirmation_sd"], row["test_metric"]
    return score_text(mean, metric) + ("" if sd is None else f" ± {score_text(sd, metric)}")


def _depth(row: Mapping[str, Any]) -> str:
    if row["best_freeze_depth"] is None:
        return "-"
    return blocks_text(row["best_freeze_depth"], row["best_tune_stop"], row["num_blocks"])


def _trials(row: Mapping[str, Any]) -> str:
    failed = f", {row['num_failed']} failed" if row["num_failed"] else ""
    return f"{row['num_trials']} ({row['num_stopped']}{failed})"


def _is_short(row: Mapping[str, Any]) -> bool:
    """Whether something of what was planned gave no result."""
    return row["coverage"] is not None and row["coverage"] < 1


def _coverage(row: Mapping[str, Any]) -> str:
    """Rounded down: not all is not 100 %."""
    return "-" if row["coverage"] is None else f"{math.floor(100 * row['coverage'] + 1e-9)}%"


def _cost(row: Mapping[str, Any]) -> str:
    return "-" if row["cost_s"] is None else f"{row['cost_s']:.0f}"
