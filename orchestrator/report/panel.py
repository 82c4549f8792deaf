"""All tasks together: the mean score with its intervals, and what other aggregators would say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.ranking import Ranking, aggregate
from orchestrator.report.document import Block, Cell, Figure, Prose, Section, Table
from orchestrator.report.figures_ranking import Standing, forest
from orchestrator.report.wording import DASH, listed, number, percent, points, span

__all__ = ["panel"]

_FIRST_BY = {
    "anchored_mean": "mean score",
    "mean_z_score": "mean z-score",
    "mean_rank": "mean rank (Borda)",
    "bradley_terry": "Bradley-Terry",
}


def panel(ranking: Ranking, shorts: Mapping[str, str], colors: Mapping[str, str]) -> list[Section]:
    """One section; none where fewer than two tasks have anyone ranked.

    Args:
        ranking: of all tasks.
        shorts: backbone -> its short name.
        colors: backbone -> its colour.
    """
    if len(ranking.scores) < 2:
        return []
    found = aggregate(ranking)
    rows = found.table.to_pylist()
    confidence = percent(ranking.options.confidence)
    winners = tuple(
        (_FIRST_BY.get(name, name), listed([shorts[winner] for winner in first]))
        for name, first in found.winners.items()
    )
    tables = [_table(rows, shorts, colors, confidence)]
    if winners:
        caption = "Who is first by each way to put tasks together; only the mean score is blind to who else competes"
        tables.append(Table(caption=caption, columns=("by", "first"), rows=winners, words=frozenset({1})))
    known = [row for row in rows if row["anchored_mean"] is not None and row["ci_low"] is not None]
    charts = [_chart(known, shorts, colors, len(ranking.scores), confidence)] if known else []
    blocks: list[Block] = [Prose(paragraphs=found.sentences, lead=True), *tables, *charts]
    return [Section(title="All tasks together", anchor="panel", blocks=blocks)]


def _table(rows: list[dict[str, Any]], shorts: Mapping[str, str], colors: Mapping[str, str], confidence: str) -> Table:
    return Table(
        caption=f"Mean score over the tasks in points, with {confidence} intervals: a claim about these tasks alone. "
        "What lacks a task has no mean",
        columns=(
            *("rank", "backbone", "mean score", confidence, "P(best)", "mean z-score", "mean rank", "Bradley-Terry"),
            *("interquartile mean", "without a score on", "broken on"),
        ),
        rows=tuple(
            (
                span(row["rank_low"], row["rank_high"]),
                Cell(text=shorts[row["backbone"]], color=colors[row["backbone"]]),
                points(row["anchored_mean"]),
                DASH if row["ci_low"] is None else f"{points(row['ci_low'])} to {points(row['ci_high'])}",
                percent(row["p_best"]),
                number(row["mean_z_score"]),
                number(row["mean_rank"]),
                number(row["bradley_terry"]),
                points(row["interquartile_mean"]),
                listed(row["missing_tasks"]) or DASH,
                listed(row["broken_tasks"]) or DASH,
            )
            for row in rows
        ),
        words=frozenset({1, 9, 10}),
    )


def _chart(
    rows: list[dict[str, Any]], shorts: Mapping[str, str], colors: Mapping[str, str], num_tasks: int, confidence: str
) -> Figure:
    standings = [
        Standing(
            name=shorts[row["backbone"]],
            color=colors[row["backbone"]],
            score=row["anchored_mean"],
            low=row["ci_low"],
            high=row["ci_high"],
            confirmed=None,
        )
        for row in rows
    ]
    spoken = "; ".join(f"{one.name} {points(one.score)} ({points(one.low)} to {points(one.high)})" for one in standings)
    return Figure(
        svg=forest("panel-forest", standings),
        alt=f"Mean scores over {num_tasks} tasks: {spoken}.",
        caption=f"Mean score over {num_tasks} tasks with its {confidence} interval; trials and seeds are "
        "with each task.",
    )
