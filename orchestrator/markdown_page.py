"""A ranking as Markdown: what MLflow shows in place, and what one pastes into a merge request or a chat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from orchestrator.ranking import Ranking, aggregate
from orchestrator.report.wording import DASH, frozen, percent, points, rate, scale, seconds, span

__all__ = ["ranking_page"]

Row = Mapping[str, Any]

_WORDS: Final = ("backbone", "status")
"""Columns that are not of numbers."""


def ranking_page(title: str, ranking: Ranking) -> str:
    """The outcome of each task in words, its table, and how to read it; over several tasks what holds for all.

    Args:
        title: of the page.
    """
    rows = ranking.table.to_pylist()
    parts = [f"# {title}"]
    for verdict in ranking.verdicts:
        of_task = [row for row in rows if row["task"] == verdict.task]
        parts += [f"## {verdict.task}", *verdict.sentences, *_ranked(of_task, percent(ranking.options.confidence))]
    if len(ranking.scores) > 1:
        over_all = aggregate(ranking)
        parts += [f"## All {len(ranking.scores)} tasks", *over_all.sentences]
        parts.append(_table(over_all.table.to_pylist(), _over_all(percent(ranking.options.confidence))))
    return "\n\n".join(parts) + "\n"


def _ranked(rows: Sequence[Row], confidence: str) -> Iterator[str]:
    metric = scale(next((row["test_metric"] for row in rows if row["test_metric"]), None))
    num_test = next((row["num_test"] for row in rows if row["num_test"]), None)
    sizes = "" if num_test is None else f" on {num_test} test samples"
    yield _table(
        rows,
        {
            "rank": lambda row: span(row["rank_low"], row["rank_high"]),
            "backbone": _name,
            "score": lambda row: points(row["score"]),
            confidence: _interval,
            "P(best)": lambda row: percent(row["p_best"]),
            f"test {metric.label}": lambda row: _confirmed(row, metric.text),
            "confirmations": lambda row: str(row["num_confirmations"]),
            "frozen blocks": lambda row: frozen(row["best_freeze_depth"], row["best_tune_stop"], row["num_blocks"]),
            "learning rate": lambda row: rate(row["best_learning_rate"]),
            "head learning rate": lambda row: rate(row["best_head_learning_rate"]),
            "trials": lambda row: str(row["num_trials"]),
            "stopped": lambda row: str(row["num_stopped"]),
            "failed": lambda row: str(row["num_failed"]),
            "coverage": _coverage,
            "spent": lambda row: seconds(row["cost_s"]),
            "status": lambda row: row["reason"] or row["status"],
        },
    )
    yield (
        f"Scores are points between chance (0) and perfect (100), with {confidence} intervals; ranks are those that a "
        f"backbone can still hold. Test results are the mean and standard deviation of confirmations with fresh seeds"
        f"{sizes}. Coverage: of the runs that were planned, those that gave a result."
    )


def _over_all(confidence: str) -> dict[str, Callable[[Row], str]]:
    return {
        "rank": lambda row: span(row["rank_low"], row["rank_high"]),
        "backbone": _name,
        "mean score": lambda row: points(row["anchored_mean"]),
        confidence: _interval,
        "missing": lambda row: ", ".join(row["missing_tasks"]) or DASH,
    }


def _table(rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]]) -> str:
    marks = [":---" if name in _WORDS else "---:" for name in columns]
    lines = [list(columns), marks, *([cell(row) for cell in columns.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _name(row: Row) -> str:
    return f"`{row['backbone']}`"


def _interval(row: Row) -> str:
    return DASH if row["ci_low"] is None else f"{points(row['ci_low'])} to {points(row['ci_high'])}"


def _confirmed(row: Row, text: Callable[[float | None], str]) -> str:
    spread = "" if row["confirmation_sd"] is None else f" ± {text(row['confirmation_sd'])}"
    return text(row["confirmation_mean"]) + spread


def _coverage(row: Row) -> str:
    """Rounded down: not all is not 100 %."""
    return DASH if row["coverage"] is None else f"{math.floor(100 * row['coverage'] + 1e-9)} %"
