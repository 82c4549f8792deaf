"""What a backbone costs to tune: tuning curves against trials and seconds, and who is worth it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.ranking.bands import slice_band
from orchestrator.ranking.curve import random_configurations, random_runs, replay, slice_curve
from orchestrator.ranking.interval import Array
from orchestrator.ranking.scale import lowest
from orchestrator.ranking.score import Evidence, validation_noise
from orchestrator.ranking.sensitivity import WITHIN
from orchestrator.ranking.study import Study
from orchestrator.ranking.surface import Surface

__all__ = ["MOST_TRIALS", "Replayed", "cost_leaders", "curve_rows", "on_pareto_front", "replayed", "slice_rows"]

MOST_TRIALS = 64
"""Longest random search that is replayed."""

_SHOWN = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_DRAWS = 400
_CANDIDATES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """Random search of a study, replayed on draws of its surface. Metric's unit, seconds."""

    curves: Array
    """Expected test score of the validation-best of 1 .. MOST_TRIALS trials in each draw: (draws, MOST_TRIALS)."""
    trial_cost_s: float | None
    """Mean duration of its completed random trials; None where none was timed."""

    def trials_to_within(self, quality: float) -> int | None:
        """Trials until the expected score is within a point of `quality`; None where MOST_TRIALS do not do it."""
        reached = np.flatnonzero(self.curves.mean(axis=0) >= quality - WITHIN)
        return int(reached[0]) + 1 if len(reached) else None

    def cost_s(self, num_trials: int | None) -> float | None:
        """Of so many trials, one after the other."""
        return None if num_trials is None or self.trial_cost_s is None else num_trials * self.trial_cost_s


def replayed(evidence: Evidence, surface: Surface, seed: int) -> Replayed:
    """Replay random search on a study whose evidence is sufficient."""
    search = evidence.study.search
    rng = np.random.default_rng([seed, 9])
    candidates = random_configurations(search, _CANDIDATES, rng)
    draws, seed_sds = surface.draw(candidates, _DRAWS, rng)
    curves = replay(draws, seed_sds, validation_noise(evidence), rng, range(1, MOST_TRIALS + 1))
    costs = [run.duration_s for run in random_runs(search) if run.state == "completed" and run.duration_s is not None]
    return Replayed(curves=curves, trial_cost_s=float(np.mean(costs)) if costs else None)


def curve_rows(search: Replayed, confidence: float) -> list[dict[str, Any]]:
    """Of TUNING_CURVES, without task and backbone."""
    ends = np.quantile(search.curves, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    means = search.curves.mean(axis=0)
    return [
        {
            "estimator": "replay",
            "num_trials": n,
            "score": float(means[n - 1]),
            "low": float(ends[0, n - 1]),
            "high": float(ends[1, n - 1]),
            "cost_s": search.cost_s(n),
        }
        for n in _SHOWN
    ]


def slice_rows(study: Study, chance: float, search: Replayed, confidence: float) -> list[dict[str, Any]]:
    """The same from the random trials alone; none where these are no random sample.

    The scheduler never stops a random trial. One that failed is one that scored chance and is never chosen. A
    completed one without a test result leaves a gap that nothing fills. As on the surface, a test score below the
    least that counts is that one: an R2 of minus thousands has no place in a mean.
    """
    random = [run for run in study.search if run.phase == "random"]
    if not random or any(run.state != "failed" and not (run.scored and run.number in study.tests) for run in random):
        return []
    val = np.array([-np.inf if run.val_score is None or not run.scored else run.val_score for run in random])
    test = np.array([study.tests[run.number].score if run.scored else chance for run in random])
    at = [n for n in _SHOWN if n <= len(random)]
    low = lowest(next(iter(study.tests.values())).metric)
    test = np.maximum(test, low)
    band = slice_band(val, test, at, confidence, low)
    return [
        {
            "estimator": "slice",
            "num_trials": n,
            "score": float(score),
            "low": None if band is None else float(band[0][place]),
            "high": None if band is None else float(band[1][place]),
            "cost_s": search.cost_s(n),
        }
        for place, (n, score) in enumerate(zip(at, slice_curve(val, test, at), strict=True))
    ]


def on_pareto_front(points: Sequence[tuple[float, float | None]]) -> list[bool]:
    """Which (quality, cost) no other one beats in one of the two without losing in the other.

    An unknown cost counts as infinite.
    """
    known = [(quality, math.inf if cost is None else cost) for quality, cost in points]
    return [
        not any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in known) for quality, cost in known
    ]


def cost_leaders(curves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of COST_LEADERS from rows of TUNING_CURVES: for each task who leads from which spending on.

    A backbone has at a spending what the longest replayed search within it is expected to reach.
    """
    replay_rows = [row for row in curves if row["estimator"] == "replay" and row["cost_s"] is not None]
    found: list[dict[str, Any]] = []
    for task, of_task in itertools.groupby(
        sorted(replay_rows, key=lambda row: str(row["task"])), lambda row: row["task"]
    ):
        reached: dict[str, float] = {}
        leader: str | None = None
        steps = sorted(of_task, key=lambda row: (row["cost_s"], row["backbone"]))
        for spent, now in itertools.groupby(steps, lambda row: row["cost_s"]):
            for row in now:
                reached[row["backbone"]] = max(reached.get(row["backbone"], -math.inf), row["score"])
            best = max(sorted(reached), key=lambda name: reached[name])
            if best != leader:
                leader = best
                found.append({"task": task, "from_s": spent, "backbone": best, "score": reached[best]})
    return found
