"""The outcome of one task: verdict, ranking, what it is made of, and what it cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from orchestrator.ranking import Ranking, Verdict
from orchestrator.ranking.score import normalise
from orchestrator.report.comparison import compared
from orchestrator.report.components import components
from orchestrator.report.document import Block, Cell, Figure, Prose, Section, Table
from orchestrator.report.figures_ranking import Place, Standing, forest, ranks
from orchestrator.report.reading import StudyRecords, budgets
from orchestrator.report.wording import DASH, number, percent, points, rate, scale, seconds, span
from orchestrator.tracking.naming import blocks_text

__all__ = ["outcome"]

_READ: Final = (
    "Settings were chosen on the validation set and then trained again with fresh seeds; the score is the test "
    "result of those settings, 0 for the best constant answer and 100 for a perfect one, averaged over the "
    "conditions below with the weights shown.",
    "An interval says which ranks are possible at {confidence} once luck of the seeds, the size of the test set "
    "and unfinished tuning are taken into account, for all pairs at once.",
    "Backbones that share rank 1 with the leader are not beaten.",
)


def outcome(verdict: Verdict, ranking: Ranking, studies: Sequence[StudyRecords], anchor: str) -> Section:
    """The sections of one task, from its verdict to its weights.

    Args:
        verdict: of the task.
        ranking: of all tasks.
        studies: of the task, as the ranking has them.
        anchor: leads the anchors of all sections.
    """
    ranked = [study for study in studies if study.row["score"] is not None]
    confidence = percent(ranking.options.confidence)
    reading = tuple(sentence.format(confidence=confidence) for sentence in _READ)
    return Section(
        title="Verdict",
        anchor=f"{anchor}-verdict",
        blocks=[Prose(paragraphs=verdict.sentences, lead=True)],
        sections=[
            Section(
                title="Ranking",
                anchor=f"{anchor}-ranking",
                blocks=[
                    _ranking_table(studies, confidence),
                    Prose(paragraphs=(" ".join(reading),)),
                    *_standings(ranked, studies, confidence, anchor),
                ],
            ),
            Section(
                title="What the score is made of",
                anchor=f"{anchor}-components",
                blocks=components(verdict, ranking, ranked, anchor),
            ),
            Section(
                title="What can be told apart",
                anchor=f"{anchor}-pairs",
                blocks=compared(verdict, ranking, ranked),
            ),
        ],
    )


def _ranking_table(studies: Sequence[StudyRecords], confidence: str) -> Table:
    rows = []
    for study in studies:
        row = study.row
        metric = scale(row["test_metric"])
        spread = f" ± {metric.text(row['confirmation_sd'])}" if row["confirmation_sd"] is not None else ""
        collapsed = f", {row['num_collapsed']} collapsed" if row["num_collapsed"] else ""
        lost = f", {row['num_confirmations_lost']} lost" if row["num_confirmations_lost"] else ""
        depth = DASH
        if row["best_freeze_depth"] is not None:
            depth = blocks_text(row["best_freeze_depth"], row["best_tune_stop"], row["num_blocks"])
        rows.append(
            (
                span(row["rank_low"], row["rank_high"]),
                Cell(text=study.short, color=study.color, anchor=study.anchor),
                points(row["score"]),
                DASH if row["ci_low"] is None else f"{points(row['ci_low'])} to {points(row['ci_high'])}",
                percent(row["p_best"]),
                f"{metric.text(row['confirmation_mean'])}{spread} ({row['num_confirmations']}{collapsed}{lost})",
                depth,
                rate(row["best_learning_rate"]),
                f"{row['num_trials']} ({row['num_stopped']}, {row['num_failed']})",
                DASH if row["coverage"] is None else f"{math.floor(100 * row['coverage'] + 1e-9)} %",
                seconds(row["cost_s"]),
                row["reason"] or row["status"],
            )
        )
    metric_name = scale(next((study.row["test_metric"] for study in studies if study.row["test_metric"]), None)).label
    num_test = next((study.row["num_test"] for study in studies if study.row["num_test"]), None)
    return Table(
        caption=f"Ranks and scores in points, with {confidence} intervals. Test scores are the plain mean and standard "
        f"deviation of the confirmations{f' on {num_test} test samples' if num_test else ''}. Coverage: of the "
        "runs that were planned, those that gave a result.",
        columns=(
            *("rank", "backbone", "score", confidence, "P(best)", f"test {metric_name} (confirmations)"),
            *("frozen / blocks", "learning rate", "trials (stopped, failed)", "coverage", "spent", "status"),
        ),
        rows=tuple(rows),
        words=frozenset({1, 11}),
    )


def _standings(
    ranked: Sequence[StudyRecords], studies: Sequence[StudyRecords], confidence: str, anchor: str
) -> list[Block]:
    blocks: list[Block] = []
    if ranked:
        standings = [
            Standing(
                name=study.short,
                color=study.color,
                score=study.row["score"],
                low=study.row["ci_low"],
                high=study.row["ci_high"],
                confirmed=float(normalise(study.row["confirmation_mean"], study.row["chance"])),
            )
            for study in ranked
        ]
        spoken = "; ".join(
            f"{one.name} {points(one.score)} ({points(one.low)} to {points(one.high)})" for one in standings
        )
        blocks.append(
            Figure(
                svg=forest(f"{anchor}-forest", standings),
                alt=f"Scores with intervals: {spoken}.",
                caption=f"Score of each backbone with its {confidence} interval (seeds and test set below, unfinished "
                "tuning above as well). The upright stroke is the plain mean of the confirmations, chance-normalised: "
                f"fully tuned alone, without the other conditions. Spent: {budgets(studies)}.",
            )
        )
    placed = [study for study in studies if study.row["rank_low"] is not None]
    if placed:
        places = [
            Place(
                name=study.short,
                color=study.color,
                rank=study.row["rank"],
                low=study.row["rank_low"],
                high=study.row["rank_high"],
                found_low=study.row["found_rank_low"],
                found_high=study.row["found_rank_high"],
            )
            for study in placed
        ]
        spoken = "; ".join(f"{one.name} {span(one.low, one.high)}" for one in places)
        blocks.append(
            Figure(
                svg=ranks(f"{anchor}-ranks", places),
                alt=f"Ranks that are possible: {spoken}.",
                caption=f"Ranks that are possible at {confidence}, all backbones at once. Thin: these backbones, with "
                "what more tuning might still find (attainable). Broad: these tuned configurations alone (found).",
                table=Table(
                    caption="Rank intervals",
                    columns=("backbone", "rank", "attainable", "found"),
                    rows=tuple(
                        (one.name, number(one.rank), span(one.low, one.high), span(one.found_low, one.found_high))
                        for one in places
                    ),
                ),
            )
        )
    return blocks
