"""The outcome of one task: verdict, ranking, what it is made of, and what it cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from orchestrator.ranking import Ranking, Verdict
from orchestrator.ranking.score import normalise
from orchestrator.report.answer import bill, leader, not_measured, said
from orchestrator.report.comparison import compared
from orchestrator.report.components import components
from orchestrator.report.document import Block, Cell, Figure, Prose, Section, Table
from orchestrator.report.figures_ranking import Place, Standing, forest, ranks
from orchestrator.report.studies import StudyRecords, SweepRecords, common_basis
from orchestrator.report.wording import DASH, frozen, listed, number, percent, points, rate, scale, seconds, span

__all__ = ["outcome"]

_READ: Final = (
    "Settings were chosen on the validation set and then trained again with fresh seeds; the score is the test "
    "result of those settings, 0 for the best constant answer and 100 for a perfect one, averaged over the "
    "conditions below with the weights shown.",
    "An interval says which ranks are possible at {confidence} once luck of the seeds, the size of the test set "
    "and unfinished tuning are taken into account, for all pairs at once.",
    "Backbones that share rank 1 with the leader are not beaten.",
)
_ALWAYS_UNMEASURED: Final = "another split of the data"

_Column = tuple[str, Callable[[StudyRecords], str]]


def outcome(verdict: Verdict, records: SweepRecords, rest: Iterable[Block], anchor: str) -> Section:
    """The sections of one task, from its verdict to its weights.

    Args:
        verdict: of the task.
        records: of the sweep.
        rest: all other blocks of the task, for what they say was not measured.
        anchor: leads the anchors of all sections.
    """
    studies, ranking = records.of_task(verdict.task), records.ranking
    ranked = [study for study in studies if study.row["score"] is not None]
    confidence = percent(ranking.options.confidence)
    lead, conditions = said(verdict, studies)
    parts = components(verdict, ranking, ranked, anchor)
    apart = [*compared(verdict, ranking, ranked), *_ranks(studies, confidence, anchor)]
    reading = " ".join(sentence.format(confidence=confidence) for sentence in _READ)
    return Section(
        title="Verdict",
        anchor=f"{anchor}-verdict",
        blocks=[
            *lead,
            *_forest(verdict, studies, confidence, anchor),
            *leader(verdict, ranked, records),
            bill(studies),
            *conditions,
            not_measured([*parts, *apart, *rest], len(studies)),
        ],
        sections=[
            Section(
                title="Ranking",
                anchor=f"{anchor}-ranking",
                blocks=[_ranking_table(studies, ranking, confidence), Prose(paragraphs=(reading,))],
            ),
            Section(title="What the score is made of", anchor=f"{anchor}-components", blocks=parts),
            Section(title="What can be told apart", anchor=f"{anchor}-pairs", blocks=apart),
        ],
    )


def _ranking_table(studies: Sequence[StudyRecords], ranking: Ranking, confidence: str) -> Table:
    metric = scale(next((study.row["test_metric"] for study in studies if study.row["test_metric"]), None))
    num_test = next((study.row["num_test"] for study in studies if study.row["num_test"]), None)
    columns: list[_Column] = [
        ("rank", lambda study: span(study.row["rank_low"], study.row["rank_high"])),
        ("score", lambda study: points(study.row["score"])),
        ("low", lambda study: points(study.row["ci_low"])),
        ("high", lambda study: points(study.row["ci_high"])),
        ("P(best)", lambda study: percent(study.row["p_best"])),
        (f"test {metric.label}", lambda study: metric.text(study.row["confirmation_mean"])),
        ("sd", lambda study: metric.text(study.row["confirmation_sd"])),
        ("confirmed", lambda study: str(study.row["num_confirmations"])),
        *_odd("collapsed", "num_collapsed", studies),
        *_odd("lost", "num_confirmations_lost", studies),
        ("frozen", _frozen),
        ("learning rate", lambda study: rate(study.row["best_learning_rate"])),
        ("trials", lambda study: str(study.row["num_trials"])),
        *_odd("failed", "num_failed", studies),
        ("spent", lambda study: seconds(study.row["cost_s"])),
    ]
    if any(study.row["coverage"] != 1.0 for study in studies):
        columns.append(("coverage", _coverage))
    words: frozenset[int] = frozenset()
    if any(study.row["status"] != "ranked" for study in studies):
        columns.append(("status", lambda study: study.row["reason"] or study.row["status"]))
        words = frozenset({len(columns)})
    return Table(
        caption=f"Possible ranks, and scores in points with their {confidence} intervals. Test scores are plain mean "
        f"and standard deviation of the confirmations{f' on {num_test} test samples' if num_test else ''}; "
        "what collapsed is counted and left out. Confirmed: how often. Coverage: of the runs that were planned, those "
        "that gave a result.",
        columns=("backbone", *(title for title, _ in columns)),
        rows=tuple(
            (
                Cell(text=study.short, color=study.color, anchor=study.anchor),
                *(text(study) for _, text in columns),
            )
            for study in studies
        ),
        words=words,
    )


def _odd(title: str, name: str, studies: Sequence[StudyRecords]) -> list[_Column]:
    """A column of counts, where any is above zero."""
    return [(title, lambda study: str(study.row[name]))] if any(study.row[name] for study in studies) else []


def _frozen(study: StudyRecords) -> str:
    return frozen(*(study.row[name] for name in ("best_freeze_depth", "best_tune_stop", "num_blocks")))


def _coverage(study: StudyRecords) -> str:
    known = study.row["coverage"]
    return DASH if known is None else f"{math.floor(100 * known + 1e-9)} %"


def _forest(verdict: Verdict, studies: Sequence[StudyRecords], confidence: str, anchor: str) -> list[Block]:
    ranked = [study for study in studies if study.row["score"] is not None]
    if not ranked:
        return []
    unscored = [f"{study.short} ({study.row['status']})" for study in studies if study.row["score"] is None]
    standings = [
        Standing(
            name=study.short,
            color=study.color,
            marker=study.marker,
            score=study.row["score"],
            low=study.row["ci_low"],
            high=study.row["ci_high"],
            confirmed=float(normalise(study.row["confirmation_mean"], study.row["chance"])),
        )
        for study in ranked
    ]
    spoken = "; ".join(f"{one.name} {points(one.score)} ({points(one.low)} to {points(one.high)})" for one in standings)
    lacking = [name.replace("_", " ") for name in verdict.unmeasured]
    return [
        Figure(
            svg=forest(f"{anchor}-forest", standings),
            alt=f"Scores with intervals: {spoken}.",
            caption=f"Score, 0 is chance and 100 is perfect, with its {confidence} interval: seeds and test set below, "
            "unfinished tuning above as well. Upright stroke: the confirmations' plain mean, fully tuned alone.",
            basis=common_basis(ranked, unmeasured=listed([*unscored, *lacking, _ALWAYS_UNMEASURED])),
        )
    ]


def _ranks(studies: Sequence[StudyRecords], confidence: str, anchor: str) -> list[Block]:
    placed = [study for study in studies if study.row["rank_low"] is not None]
    if len(placed) < 2:
        return []
    places = [
        Place(
            name=study.short,
            color=study.color,
            marker=study.marker,
            rank=study.row["rank"],
            low=study.row["rank_low"],
            high=study.row["rank_high"],
            found_low=study.row["found_rank_low"],
            found_high=study.row["found_rank_high"],
        )
        for study in placed
    ]
    spoken = "; ".join(f"{one.name} {span(one.low, one.high)}" for one in places)
    return [
        Figure(
            svg=ranks(f"{anchor}-ranks", places),
            alt=f"Ranks that are possible: {spoken}.",
            caption=f"Ranks that are possible at {confidence}, all backbones at once. Thin: these backbones, with "
            "what more tuning might still find (attainable). Broad: these tuned configurations alone (found).",
            basis=common_basis(placed, unmeasured=f"{_ALWAYS_UNMEASURED}, on which ranks may differ"),
            table=Table(
                caption="Rank intervals",
                columns=("backbone", "rank", "attainable", "found"),
                rows=tuple(
                    (one.name, number(one.rank), span(one.low, one.high), span(one.found_low, one.found_high))
                    for one in places
                ),
            ),
        )
    ]
