"""Two rankings of the same tasks beside each other: what moved, and whether that is more than luck."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from orchestrator.ranking.claims import Claims, TaskScores, own_interval
from orchestrator.ranking.options import COMPONENTS, RankingOptions
from orchestrator.ranking.result import Ranking
from orchestrator.ranking.schema import COMPARISON
from orchestrator.ranking.verdict import Verdict, listed

__all__ = ["Comparison", "common_weights", "compare"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What `compare` returns."""

    table: pa.Table
    """Schema COMPARISON: a row per task and backbone that either ranks, by task, then place in b, then in a."""
    sentences: tuple[str, ...]
    """What moved, and what keeps the two from being compared, in words."""


def common_weights(a: Ranking, b: Ranking) -> dict[str, float]:
    """The weights of a, 0 for each component that is not in the score of every task of both alike.

    With these both have the same score. Empty where no component is left.
    """
    weights = {name: a.options.weights.get(name, 0.0) for name in COMPONENTS}
    verdicts = [verdict for verdict in (*a.verdicts, *b.verdicts) if verdict.measured]
    for name in COMPONENTS:
        if not all(name in verdict.measured for verdict in verdicts):
            weights[name] = 0.0
    if len({verdict.train_fracs for verdict in verdicts}) > 1:
        weights["data_efficiency"] = 0.0
    return {name: weight for name, weight in weights.items() if weight > 0}


def compare(a: Ranking, b: Ranking) -> Comparison:
    """Compare two rankings task by task; tasks that only one of them has are named.

    Ranks, and their intervals, are those among the backbones that both rank, so that nobody moves because
    somebody joined. Differences of scores compare what was found: seeds and test set of both, taken as
    independent, which is on the wide side where both used the same test set.
    """
    tasks_a, tasks_b = ({scores.task: scores for scores in ranking.scores} for ranking in (a, b))
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for task in sorted(tasks_a.keys() & tasks_b.keys()):
        of_task = _rows(tasks_a[task], tasks_b[task], a.options, b.options)
        rows += of_task
        lines += [f"{task}: {line}" for line in _moves(of_task)]
        verdicts = [next(verdict for verdict in ranking.verdicts if verdict.task == task) for ranking in (a, b)]
        lines += [f"{task}: {line}" for line in _obstacles(a, b, verdicts[0], verdicts[1])]
    for task in sorted(tasks_a.keys() ^ tasks_b.keys()):
        lines.append(f"{task}: only {'a' if task in tasks_a else 'b'} ranks it.")
    return Comparison(table=pa.Table.from_pylist(rows, schema=COMPARISON), sentences=tuple(lines))


def _among(given: TaskScores, backbones: set[str]) -> TaskScores:
    kept = [index for index, name in enumerate(given.backbones) if name in backbones]
    return TaskScores(
        task=given.task,
        backbones=tuple(given.backbones[index] for index in kept),
        scores=given.scores[kept],
        seed_variances=given.seed_variances[kept],
        own_examples=given.own_examples[kept],
        examples=given.examples[np.ix_(kept, kept)],
        regret_squares=given.regret_squares[kept],
        has_errors=given.has_errors,
    )


def _rows(a: TaskScores, b: TaskScores, options_a: RankingOptions, options_b: RankingOptions) -> list[dict[str, Any]]:
    both = set(a.backbones) & set(b.backbones)
    sides = {"a": _places(a, both, options_a, "a"), "b": _places(b, both, options_b, "b")}
    rows = []
    for name in sorted({*a.backbones, *b.backbones}):
        mine, theirs = sides["a"].get(name, {}), sides["b"].get(name, {})
        row = {"task": a.task, "backbone": name, "status": "both" if name in both else "only_a" if mine else "only_b"}
        row |= {key: value for key, value in (mine | theirs).items() if not key.startswith("variance")}
        if name in both:
            difference = theirs["score_b"] - mine["score_a"]
            reach = float(ndtri(0.5 + options_a.confidence / 2)) * math.sqrt(mine["variance_a"] + theirs["variance_b"])
            row |= {"rank_change": theirs["rank_b"] - mine["rank_a"], "difference": difference}
            if a.has_errors and b.has_errors:
                row |= {
                    "moved": theirs["rank_low_b"] > mine["rank_high_a"] or theirs["rank_high_b"] < mine["rank_low_a"],
                    "difference_low": difference - reach,
                    "difference_high": difference + reach,
                }
        rows.append(row)
    last = len(rows)
    rows.sort(key=lambda row: (row["status"] != "both", row.get("rank_b", last), row.get("rank_a", last)))
    return rows


def _places(given: TaskScores, both: set[str], options: RankingOptions, side: str) -> dict[str, dict[str, Any]]:
    """Backbone -> its columns: places among those in `both`, of others the score alone."""
    found: dict[str, dict[str, Any]] = {}
    for name, score, variance in zip(given.backbones, given.scores, given.own_variances, strict=True):
        low, high = own_interval(score, variance, options.confidence)
        columns = {"score": score, "ci_low": low, "ci_high": high}
        found[name] = {f"{key}_{side}": float(value) for key, value in (columns | {"variance": variance}).items()}
    if not given.has_errors:
        for columns in found.values():
            columns |= {f"ci_low_{side}": None, f"ci_high_{side}": None}
    if both:
        claims = Claims(_among(given, both), options)
        for index, name in enumerate(claims.given.backbones):
            places = {"rank": claims.ranks[index]}
            if given.has_errors:
                attainable = claims.attainable
                places |= {"rank_low": int(attainable.low[index]), "rank_high": int(attainable.high[index])}
            found[name] |= {f"{key}_{side}": value for key, value in places.items()}
    return found


def _moves(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    both = [row for row in rows if row["status"] == "both"]
    if not both:
        yield "no backbone is ranked by both."
        return
    first_a, first_b = (min(both, key=lambda row: row[f"rank_{side}"])["backbone"] for side in ("a", "b"))
    if first_a == first_b:
        yield f"{first_a} is first among the {len(both)} backbones of both."
    else:
        yield f"the first place goes from {first_a} to {first_b} among the {len(both)} backbones of both."
    if not all("moved" in row for row in both):
        yield "seeds and per-example results are missing: whether anything is more than luck cannot be said."
        return
    moved = [row["backbone"] for row in both if row["moved"]]
    changed = [row["backbone"] for row in both if row["rank_change"]]
    if moved:
        yield f"{listed(moved)} changed place by more than the rank intervals allow for."
    elif changed:
        yield f"{listed(changed)} changed place, all within their rank intervals: it may be luck."
    else:
        yield "nobody changed place."
    apart = [row["backbone"] for row in both if row["difference_low"] > 0 or row["difference_high"] < 0]
    if apart:
        yield f"the score of {listed(apart)} differs beyond seeds and test set."
    for side in ("a", "b"):
        alone = [row["backbone"] for row in rows if row["status"] == f"only_{side}"]
        if alone:
            yield f"only {side} ranks {listed(alone)}."


def _obstacles(a: Ranking, b: Ranking, one: Verdict, other: Verdict) -> Iterator[str]:
    """What differs between the two beside the results."""
    if (one.measured, one.train_fracs) != (other.measured, other.train_fracs):
        yield (
            f"the scores are not made of the same: {listed(one.measured)} in a, {listed(other.measured)} in b; "
            "compare with weights on what both have."
        )
    for column, what in (
        ("test_metric", "test metric"),
        ("chance", "chance level"),
        ("num_test", "number of test examples"),
    ):
        values = []
        for ranking in (a, b):
            rows = [row for row in ranking.table.to_pylist() if row["task"] == one.task and row["rank"] is not None]
            values.append(rows[0][column])
        if values[0] != values[1]:
            yield f"the {what} differs: {values[0]} in a, {values[1]} in b."
    budgets = [sorted({count for _, count in verdict.budget}) for verdict in (one, other)]
    if all(budgets) and budgets[0] != budgets[1]:  # a plain table of scores knows of none
        texts = [f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0]) for counts in budgets]
        yield f"the budget differs: {texts[0]} trials per backbone in a, {texts[1]} in b."
    if (one.race is None) != (other.race is None):
        yield "one is a race and the other gave equal budgets."
