"""All tasks together: the mean score with its intervals, and what other aggregators would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.ranking import Ranking, aggregate
from orchestrator.report.answer import by_short_name
from orchestrator.report.document import Basis, Block, Cell, Figure, Prose, Section, Table
from orchestrator.report.figures_ranking import Standing, forest
from orchestrator.report.studies import StudyRecords
from orchestrator.report.wording import DASH, listed, number, percent, plural, points, span

__all__ = ["panel"]

_FIRST_BY = {
    "anchored_mean": "mean score",
    "mean_z_score": "mean z-score",
    "mean_rank": "mean rank (Borda)",
    "bradley_terry": "Bradley-Terry",
}


def panel(ranking: Ranking, studies: Sequence[StudyRecords]) -> list[Section]:
    """One section; none where fewer than two tasks have anyone ranked.

    Args:
        ranking: of all tasks.
        studies: of all tasks.
    """
    if len(ranking.scores) < 2:
        return []
    looks = {study.backbone: study for study in studies}
    found = aggregate(ranking)
    rows = found.table.to_pylist()
    confidence = percent(ranking.options.confidence)
    winners = tuple(
        (_FIRST_BY.get(name, name), listed([looks[winner].short for winner in first]))
        for name, first in found.winners.items()
    )
    tables = [_table(rows, looks, confidence)]
    if winners:
        caption = "Who is first by each way to put tasks together; only the mean score is blind to who else competes"
        tables.append(Table(caption=caption, columns=("by", "first"), rows=winners, words=frozenset({1})))
    known = [row for row in rows if row["anchored_mean"] is not None and row["ci_low"] is not None]
    charts = [_chart(known, looks, studies, len(ranking.scores), confidence)] if known else []
    lead, *rest = (by_short_name(sentence, studies) for sentence in found.sentences)
    blocks: list[Block] = [Prose(paragraphs=(lead,), lead=True), *charts, *_prose(rest), *tables]
    return [Section(title="All tasks together", anchor="panel", blocks=blocks)]


def _prose(sentences: Sequence[str]) -> list[Prose]:
    return [Prose(paragraphs=(" ".join(sentences),))] if sentences else []


def _table(rows: list[dict[str, Any]], looks: Mapping[str, StudyRecords], confidence: str) -> Table:
    return Table(
        caption=f"Mean score over the tasks in points, with {confidence} intervals: a claim about these tasks alone. "
        "What lacks a task has no mean",
        columns=(
            *("backbone", "rank", "mean score", "low", "high", "P(best)", "mean z-score", "mean rank", "Bradley-Terry"),
            *("interquartile mean", "without a score on", "broken on"),
        ),
        rows=tuple(
            (
                Cell(text=looks[row["backbone"]].short, color=looks[row["backbone"]].color),
                span(row["rank_low"], row["rank_high"]),
                points(row["anchored_mean"]),
                points(row["ci_low"]),
                points(row["ci_high"]),
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
        words=frozenset({10, 11}),
    )


def _chart(
    rows: list[dict[str, Any]],
    looks: Mapping[str, StudyRecords],
    studies: Sequence[StudyRecords],
    num_tasks: int,
    confidence: str,
) -> Figure:
    standings = [
        Standing(
            name=looks[row["backbone"]].short,
            color=looks[row["backbone"]].color,
            marker=looks[row["backbone"]].marker,
            score=row["anchored_mean"],
            low=row["ci_low"],
            high=row["ci_high"],
            confirmed=None,
        )
        for row in rows
    ]
    spoken = "; ".join(f"{one.name} {points(one.score)} ({points(one.low)} to {points(one.high)})" for one in standings)
    num_trials = sum(len(study.search) for study in studies)
    num_seeds = sum(len(study.confirmations) for study in studies)
    return Figure(
        svg=forest("panel-forest", standings),
        alt=f"Mean scores over {num_tasks} tasks: {spoken}.",
        caption=f"Mean score over {num_tasks} tasks with its {confidence} interval; 0 is chance, 100 is perfect.",
        basis=Basis(
            num=f"{plural(len(rows), 'backbone')}, {plural(num_tasks, 'task')}",
            seeds=f"{plural(num_seeds, 'confirmation')} in all, one by one with each task",
            budget=f"{plural(num_trials, 'trial')} in all",
            unmeasured="tasks other than these",
        ),
    )
