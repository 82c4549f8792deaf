"""Backbones of a task in pairs: who beats whom, how surely, and what would have to be bought to say more."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ranking import Ranking, Verdict
from orchestrator.report.document import Block, Cell, Facts, Missing, Table
from orchestrator.report.studies import StudyRecords
from orchestrator.report.wording import DASH, percent, points

__all__ = ["compared"]


def compared(verdict: Verdict, ranking: Ranking, ranked: Sequence[StudyRecords]) -> list[Block]:
    """What this data can tell apart and what would help, then every pair of the ranked backbones."""
    pairs = [row for row in ranking.pairs.to_pylist() if row["task"] == verdict.task]
    if len(ranked) < 2:
        return [Missing(what="A comparison", how="it takes two backbones with confirmations; add trials or backbones")]
    gap = verdict.min_detectable_gap
    facts = [
        ("Smallest gap that this data can show", DASH if gap is None else f"{points(gap)} points, for a typical pair"),
        ("What limits the top pair most", verdict.limit or DASH),
        ("To tell the top pair apart, if its difference is real", _price(verdict)),
        ("What to buy next", _advice(verdict)),
    ]
    beats: dict[tuple[str, str], float] = {}
    for pair in pairs:
        p = pair["p_a_beats_b"]
        beats[pair["a"], pair["b"]] = p
        beats[pair["b"], pair["a"]] = 1.0 - p
    names = {study.backbone: study.short for study in ranked}
    matrix = tuple(
        (
            Cell(text=one.short, color=one.color),
            *(
                Cell(text="", shade=0.0)
                if one is other
                else Cell(
                    text=percent(beats[one.backbone, other.backbone]),
                    shade=2 * beats[one.backbone, other.backbone] - 1,
                )
                for other in ranked
            ),
        )
        for one in ranked
    )
    interval = percent(ranking.options.confidence)
    return [
        Facts(items=tuple(facts)),
        Table(
            caption="P(row beats column), with what more tuning might still find. Blue: likely; orange: unlikely.",
            columns=("row", *(study.short for study in ranked)),
            rows=matrix,
            named=True,
        ),
        Table(
            caption=f"Every pair: difference of scores in points, with {interval} intervals for all pairs at once",
            columns=(
                "pair",
                "difference",
                "low",
                "high",
                "P(first is better)",
                "P(no practical difference)",
                "one run beats one",
                "told apart",
            ),
            rows=tuple(
                (
                    f"{names[pair['a']]} minus {names[pair['b']]}",
                    points(pair["difference"]),
                    points(pair["ci_low"]),
                    points(pair["ci_high"]),
                    percent(pair["p_a_beats_b"]),
                    percent(pair["p_tied"]),
                    percent(pair["p_single_run"]),
                    "yes" if pair["distinguishable"] else "no",
                )
                for pair in pairs
            ),
            folded=True,
        ),
    ]


def _price(verdict: Verdict) -> str:
    """Each alone, all else as it is."""
    if verdict.top_pair_apart:
        return "nothing more: it is told apart"
    ways = (
        (verdict.num_test_needed, "test samples"),
        (verdict.num_seeds_needed, "confirmations each"),
        (verdict.num_trials_needed, "trials each"),
    )
    enough = [f"{count} {what}" for count, what in ways if count is not None]
    if enough:
        return f"about {' or '.join(enough)}"
    if verdict.times_needed is not None:
        return f"about {verdict.times_needed:.1f} times the test samples, confirmations and trials together"
    return "more than any budget: they are too close"


def _advice(verdict: Verdict) -> str:
    if len(verdict.leaders) < 2:
        return "nothing: the leader is told apart"
    return {
        "seeds": "confirmations (confirmation.seeds): luck of the seeds is the largest part of what is not known",
        "test set": "test samples: more seeds or trials hardly help",
        "unfinished tuning": "trials (budget.trials): the best configurations may not be found yet",
    }.get(verdict.limit or "", "confirmations, then trials")
