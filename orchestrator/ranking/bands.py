"""Distribution-free bands around the tuning curve of a random sample, by opda where it is installed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.ranking.curve import expected_best
from orchestrator.ranking.interval import Array

__all__ = ["MOST_TRIALS", "slice_band"]

MOST_TRIALS = 200
"""Beyond this many the band takes longer to compute than anybody waits, and says little that the curve does not."""


def slice_band(
    val_scores: Array, test_scores: Array, at: Sequence[int], confidence: float, low: float
) -> tuple[Array, Array] | None:
    """Lower and upper ends at the numbers of trials `at`, (len(at),) each; None without opda (extra ``stats``).

    The simultaneous bands of Lourie, Cho and He 2024 (arXiv:2311.09480) hold for the best of n by the score
    itself. Who chooses by validation gets less, by as much as this sample says; the band is moved by that much.
    With few trials its upper end is soon 1: a random sample does not know what it has not seen.

    val_scores, test_scores: of random trials, (N,). low: least value of the metric, no test score is below it.
    """
    try:
        from opda.nonparametric import EmpiricalDistribution
    except ImportError:
        return None
    if len(test_scores) > MOST_TRIALS:
        return None
    # A finite test set lets scores coincide; the band is exact without ties and wide with them, and opda warns.
    apart = test_scores - 1e-9 * np.argsort(np.argsort(-test_scores, kind="stable"))
    lower, _, upper = EmpiricalDistribution.confidence_bands(
        apart,
        confidence,
        a=low - 1e-6,
        b=1.0,
        generator=np.random.default_rng(0),
        method="ld_equal_tailed",
        n_jobs=1,
    )
    lost = expected_best(test_scores, test_scores, at) - expected_best(val_scores, test_scores, at)
    # A distribution function that is low everywhere belongs to scores that are high.
    ends = (np.asarray(side.average_tuning_curve(np.asarray(at)), dtype=np.float64) for side in (upper, lower))
    below, above = (np.clip(end - lost, low, 1.0) for end in ends)
    return below, above
