"""Rankers side by side: two that are in use, and the one shipped here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.ranking_truth.course import Course
from benchmarks.ranking_truth.model import CHANCE
from benchmarks.ranking_truth.tables import configuration, results_table, trials_table
from orchestrator.ranking import RankingOptions, choose, rank

__all__ = ["CONFIRMATIONS", "RANKERS", "Claim"]

Array = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.intp]
Row = dict[str, Any]

CONFIRMATIONS: Final = {12: 3, 24: 5, 48: 8}
"""Trials per backbone -> of which so many confirm the chosen configuration."""

_RESAMPLES = 1_000
_CONFIRMATION: Final = 100_000
"""Confirmations are seeded as if numbered from here, and further on for every number of trials and ranker."""

QUALITY = RankingOptions(weights={"quality": 1.0})
"""The truth is what a backbone can reach with full tuning."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a ranker says of the K backbones, in their order."""

    scores: Array
    """In the metric's unit."""

    levels: Array
    """Expected score of the configurations found: what `scores` should have been."""

    low: Ranks
    high: Ranks
    """Rank intervals: of what the backbones can attain, for the ranker that makes the difference."""

    found_low: Ranks | None = None
    found_high: Ranks | None = None
    """Of the configurations found."""


def max_validation(course: Course, num_trials: int) -> Claim:
    """Usual practice: every trial goes into the search, and the highest validation score is the result.

    Intervals: percentiles of the ranks when each backbone's trials are drawn anew from themselves.
    """
    trials = [_search_rows(course, name, num_trials) for name in course.models]
    samples = [np.array([row["val_score"] for row in rows]) for rows in trials]
    best = [max(rows, key=lambda row: row["val_score"]) for rows in trials]
    low, high = percentile_ranks(samples, np.max, course.seed)
    return Claim(
        scores=np.array([row["val_score"] for row in best]),
        levels=np.array([course.true_level(row) for row in best]),
        low=low,
        high=high,
    )


def mean_of_confirmations(course: Course, num_trials: int) -> Claim:
    """Better practice: the highest validation score is trained again with fresh seeds and tested.

    Intervals: percentiles of the ranks when each backbone's confirmations are drawn anew from themselves.
    """
    repeats = CONFIRMATIONS[num_trials]
    samples, levels = [], []
    for name in course.models:
        best = max(_search_rows(course, name, num_trials - repeats), key=lambda row: row["val_score"])
        results = [result for _, result in _confirmed(course, best, num_trials - repeats, repeats, stream=1)]
        samples.append(np.array([result["test_score"] for result in results]))
        levels.append(course.true_level(best))
    low, high = percentile_ranks(samples, np.mean, course.seed)
    return Claim(scores=np.array([s.mean() for s in samples]), levels=np.array(levels), low=low, high=high)


def shipped(course: Course, num_trials: int) -> Claim:
    """`choose`, fresh seeds, `rank`; by quality alone, as the truth has no other part."""
    repeats = CONFIRMATIONS[num_trials]
    numbers = num_trials - repeats
    kept = [index for index, row in enumerate(course.trials) if row["number"] < numbers]
    trials, tests = [course.trials[index] for index in kept], [course.tests[index] for index in kept]
    levels = []
    for name in course.models:
        rows = [row for row in trials if row["backbone"] == name]
        number = choose(trials_table(rows))
        best = next(row for row in rows if row["number"] == number)
        levels.append(course.true_level(best))
        for run, result in _confirmed(course, best, numbers, repeats, stream=0):
            trials.append(run)
            tests.append(result)
    table = rank(trials_table(trials), results_table(tests), options=QUALITY).table
    by_name = {row["backbone"]: row for row in table.to_pylist()}
    rows = [by_name[name] for name in course.models]
    for row in rows:
        if row["status"] != "ranked":  # nothing can be said, and nothing is claimed
            row |= {"score": -1.0, "rank_low": 1, "rank_high": len(rows)}
            row |= {"found_rank_low": 1, "found_rank_high": len(rows)}
    return Claim(
        scores=np.array([CHANCE + (1 - CHANCE) * row["score"] for row in rows]),
        levels=np.array(levels),
        low=np.array([row["rank_low"] for row in rows]),
        high=np.array([row["rank_high"] for row in rows]),
        found_low=np.array([row["found_rank_low"] for row in rows]),
        found_high=np.array([row["found_rank_high"] for row in rows]),
    )


RANKERS: Final[dict[str, Callable[[Course, int], Claim]]] = {
    "max_validation": max_validation,
    "mean_of_confirmations": mean_of_confirmations,
    "shipped": shipped,
}


def percentile_ranks(
    samples: Sequence[Array], statistic: Callable[..., Any], seed: int, confidence: float = 0.95
) -> tuple[Ranks, Ranks]:
    """The standard mistake: percentiles of ranks over resamples of each backbone's own numbers."""
    rng = np.random.default_rng([seed, 7])
    values = np.column_stack([statistic(rng.choice(sample, (_RESAMPLES, len(sample))), axis=1) for sample in samples])
    ranks = 1 + (values[:, None, :] > values[:, :, None]).sum(axis=2)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ranks, [tail, 1 - tail], axis=0, method="nearest")
    return low.astype(np.intp), high.astype(np.intp)


def _search_rows(course: Course, name: str, num_trials: int) -> list[Row]:
    return [row for row in course.rows_of(name) if row["number"] < num_trials]


def _confirmed(course: Course, best: Row, number: int, repeats: int, stream: int) -> list[tuple[Row, Row]]:
    """Rows of fresh trainings of a trial's configuration, numbered from `number`."""
    name = best["backbone"]
    seeds = range(_CONFIRMATION * (1 + number), _CONFIRMATION * (1 + number) + repeats)
    return [
        course.run(name, number + index, "confirmation", configuration(best), course.rng(name, 1 + stream, seed))
        for index, seed in enumerate(seeds)
    ]
