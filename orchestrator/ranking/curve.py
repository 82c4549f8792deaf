"""Tuning curves: the test score to expect of the validation-best of n random trials.

Trials that an optimiser placed are not a random sample, and expected-best-of-n computed from them is far too
high, so there are two estimators here: one from the random trials alone, one that replays random search on
draws of the surface, which may use every trial because it conditions on where they were placed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from orchestrator.ranking.study import Run
from orchestrator.ranking.surface import Array, embed

__all__ = ["CURVE_AT", "expected_best", "random_configurations", "random_runs", "replay", "slice_curve", "widened"]

CURVE_AT: tuple[int, ...] = (1, 2, 4, 8)


def expected_best(val_scores: Array, test_scores: Array, at: Sequence[int]) -> Array:
    """Mean test score of the validation-best of n over all n-subsets of N trials: an unbiased U-statistic.

    sum_i C(i-1, n-1) / C(N, n) test_(i), sorted by validation score (Tang et al. 2020, arXiv:2004.13705, with
    the test score in place of the maximum). Equal validation scores are broken by position.

    val_scores, test_scores: shape (..., N), iid trials in the last axis. at: the numbers n. Returns shape
    (..., len(at)). Raises ValueError unless 1 <= n <= N.
    """
    size = val_scores.shape[-1]
    if not all(1 <= n <= size for n in at):
        raise ValueError(f"the best of {max(at)} is undefined with {size} trials")
    order = np.argsort(val_scores, axis=-1, kind="stable")
    ranked = np.take_along_axis(test_scores, order, axis=-1)
    best: Array = ranked @ np.stack([_weights(size, n) for n in at], axis=-1)
    return best


def _weights(size: int, n: int) -> Array:
    """Of the trials from worst to best: how likely each is to be the best of n. Sums to 1."""
    place = np.arange(n, size + 1, dtype=np.float64)  # the best of n is never among the n - 1 worst
    log_weight = _log_choose(place - 1, n - 1) - _log_choose(np.float64(size), n)
    weights = np.zeros(size)
    weights[n - 1 :] = np.exp(log_weight)
    scaled: Array = weights / weights.sum()
    return scaled


def slice_curve(val_scores: npt.ArrayLike, test_scores: npt.ArrayLike, at: Sequence[int] = CURVE_AT) -> Array:
    """The model-free check of `replay`: the curve from a study's random trials alone.

    Expected test scores (metric's unit) at those of `at` that the number of trials allows, which rise.
    """
    val, test = np.asarray(val_scores, dtype=np.float64), np.asarray(test_scores, dtype=np.float64)
    return expected_best(val, test, [n for n in at if n <= len(val)])


def replay(
    surface: Array, seed_sds: Array, val_noise: float, rng: np.random.Generator, at: Sequence[int] = CURVE_AT
) -> Array:
    """Random search replayed on draws of the surface: shape (draws, len(at)), metric's unit.

    surface: (draws, M), the noise-free score at M random configurations, M >= max(at). seed_sds: (draws,), sd
    between seeds. val_noise: variance that the finite validation set adds to one run's validation score. A
    lucky seed shows on both sets, a lucky validation example on one: picking by validation keeps the first
    and loses the second.
    """
    runs = surface + seed_sds[:, None] * rng.standard_normal(surface.shape)
    seen = runs + math.sqrt(val_noise) * rng.standard_normal(surface.shape)
    return expected_best(seen, runs, at)


def random_runs(search: Sequence[Run]) -> list[Run]:
    """The random trials of a search, whatever became of them; without any, all of it stands in."""
    return [run for run in search if run.phase == "random"] or list(search)


def random_configurations(search: Sequence[Run], num: int, rng: np.random.Generator) -> Array:
    """`num` configurations as the study's own random phase would draw them, embedded: shape (num, 5).

    The space is not in the tables, but its random trials are, whatever became of them: failed and stopped
    ones tell where the search was allowed to look. Each range is the sample's own, widened by range / (N - 1)
    on both sides, the unbiased estimate for a uniform sample. Depths are whole blocks; the deepest possible one,
    which is drawn only if it was before, has no learning rate, as in the search. Windows of blocks, which are few
    and of which some may never have been drawn, come from those that were. Without random trials every search
    trial stands in.
    """
    drawn = random_runs(search)
    num_blocks = drawn[0].num_blocks
    depth, stop = _blocks(drawn, num, rng)
    rates = [math.log10(run.learning_rate) for run in drawn if run.learning_rate is not None]
    # Drawn even when unused, so that the head's rates do not depend on it.
    rate = _uniform(rates or [0.0], num, rng)
    head = _uniform([math.log10(run.head_learning_rate) for run in drawn], num, rng)
    tuned = [bool(rates) and value < num_blocks for value in depth]
    learning_rate = [10.0 ** float(value) if keep else None for value, keep in zip(rate, tuned, strict=True)]
    return embed(depth / max(num_blocks, 1), learning_rate, 10.0**head, stop / max(num_blocks, 1))


def _blocks(drawn: Sequence[Run], num: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """First tuned blocks and the ones after the last, each (num,)."""
    ends = {run.tune_stop for run in drawn}
    if len(ends) > 1:
        windows = np.array(sorted({(run.freeze_depth, run.tune_stop) for run in drawn}), dtype=np.float64)
        starts, stops = windows[rng.integers(0, len(windows), num)].T
        return starts, stops
    depths = _uniform([float(run.freeze_depth) for run in drawn], num, rng)
    (end,) = ends
    # A linear probe is no deeper depth but another way to train: one that was never drawn is in nobody's space.
    deepest = max(run.freeze_depth for run in drawn)
    most = drawn[0].num_blocks - (deepest < drawn[0].num_blocks)
    return np.clip(np.rint(depths), 0, most), np.full(num, float(end))


def widened(sample: Sequence[float]) -> tuple[float, float]:
    """The ends of the range that a uniform sample came from, estimated without bias."""
    low, high = min(sample), max(sample)
    margin = (high - low) / (len(sample) - 1) if len(sample) > 1 else 0.0
    return low - margin, high + margin


def _uniform(sample: Sequence[float], num: int, rng: np.random.Generator) -> Array:
    low, high = widened(sample)
    return rng.uniform(0.0, 1.0, num) * (high - low) + low


def _log_choose(total: npt.NDArray[np.float64] | np.float64, chosen: int) -> Array:
    value: Array = gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)
    return value
