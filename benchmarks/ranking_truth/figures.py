"""What a claim is worth when the truth is known, and averages of that over worlds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from benchmarks.ranking_truth.rankers import Claim, Ranks

__all__ = ["AIMS", "MARGIN", "against_aims", "averages", "judged"]

Array = npt.NDArray[np.float64]

MARGIN: Final = 0.005

AIMS: Final[dict[str, dict[str, dict[int, tuple[float, float, float]]]]] = {
    "spread": {
        "max_validation": {12: (0.75, 0.67, 0.47), 24: (0.84, 0.77, 0.55), 48: (0.82, 0.77, 0.52)},
        "shipped": {12: (0.85, 0.70, 0.97), 24: (0.92, 0.83, 1.00), 48: (0.98, 0.88, 0.99)},
    },
    "close": {
        "max_validation": {12: (0.77, 0.41, 0.19), 24: (0.79, 0.52, 0.32), 48: (0.78, 0.52, 0.20)},
        "shipped": {12: (0.84, 0.43, 0.96), 24: (0.95, 0.65, 0.99), 48: (0.97, 0.73, 0.99)},
    },
    "noisy": {
        "max_validation": {12: (0.64, 0.57, 0.32), 24: (0.70, 0.63, 0.34), 48: (0.73, 0.66, 0.27)},
        "shipped": {12: (0.83, 0.66, 0.98), 24: (0.87, 0.72, 0.98), 48: (0.93, 0.79, 1.00)},
    },
}
"""Scenario -> ranker -> trials -> top-1 within MARGIN, Kendall's tau, joint coverage: from another simulation of
the same world (100 worlds), of usual practice and of the method that the shipped ranker follows."""

_AIMED = ("top1", "tau", "covered")


def judged(claim: Claim, truth: Array) -> dict[str, float]:
    """Figures of one claim. truth: (K,), what each backbone can reach, in the metric's unit.

    top1: the first is within MARGIN of the best (0 or 1). tau: Kendall's tau-b. covered: all K rank intervals
    hold (0 or 1); between exactly equal backbones none may be put before the other. width: mean number of ranks
    in an interval. bias: mean of score less the expected score of the configuration found, in points. regret: how
    far that lies below what the backbone can reach, in points.
    """
    truth = np.round(truth, 9)
    found = {
        "top1": float(truth.max() - truth[int(np.argmax(claim.scores))] <= MARGIN),
        "tau": float(kendalltau(claim.scores, truth).statistic),
        "covered": holds(claim.low, claim.high, truth),
        "width": float(np.mean(claim.high - claim.low + 1)),
        "bias": 100 * float(np.mean(claim.scores - claim.levels)),
        "regret": 100 * float(np.mean(truth - claim.levels)),
    }
    if claim.found_low is not None and claim.found_high is not None:
        found["found_covered"] = holds(claim.found_low, claim.found_high, np.round(claim.levels, 9))
        found["found_covers_attainable"] = holds(claim.found_low, claim.found_high, truth)
        found["found_width"] = float(np.mean(claim.found_high - claim.found_low + 1))
    return found


def holds(low: Ranks, high: Ranks, truth: Array) -> float:
    """1 where every interval holds its backbone's true rank, or all ranks that are shared with equals; else 0."""
    better = (truth[None, :] > truth[:, None]).sum(axis=1)
    worse = (truth[None, :] < truth[:, None]).sum(axis=1)
    return float(bool(np.all((low <= 1 + better) & (len(truth) - worse <= high))))


def averages(results: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Figure -> mean over worlds and its standard error, None of fewer than two."""
    names = results[0].keys()
    return {name: _average([result[name] for result in results]) for name in names}


def _average(values: Sequence[float]) -> dict[str, float | None]:
    known = [value for value in values if not math.isnan(value)]
    mean = round(float(np.mean(known)), 4) if known else None
    error = round(float(np.std(known, ddof=1)) / math.sqrt(len(known)), 4) if len(known) > 1 else None
    return {"mean": mean, "se": error}


def against_aims(
    scenario: str, ranker: str, trials: int, found: Mapping[str, Mapping[str, float | None]]
) -> dict[str, Any]:
    """The aimed figures beside what was found, and whether it is at most two standard errors below."""
    aims = AIMS.get(scenario, {}).get(ranker, {}).get(trials)
    if aims is None:
        return {}
    compared = {}
    for name, aim in zip(_AIMED, aims, strict=True):
        mean, error = found[name]["mean"], found[name]["se"] or 0.0
        compared[name] = {"aim": aim, "reached": mean is not None and mean >= aim - 2 * error}
    return compared
