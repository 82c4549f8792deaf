"""What the ranking may claim: the covariance of the scores and the simultaneous rank intervals.

Percentiles of resampled ranks are not confidence intervals for ranks; differences of all pairs at once are
(Mogstad, Romano, Shaikh and Wilhelm 2024, "Inference for ranks", Review of Economic Studies 91).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Simultaneous",
    "examples_bound",
    "examples_covariance",
    "joint_draws",
    "nearest_psd",
    "paired_covariance",
    "run_noise",
    "simultaneous",
]

Array = npt.NDArray[np.float64]

_DRAWS = 10_000
_F1_INFLATION = 4.0


def run_noise(scores: Array) -> float:
    """Mean over examples of the variance between runs of one configuration; of right and wrong in [0, 0.5].

    scores: of each example in each run, shape (r, num_test), r >= 2. Divided by the number of examples it is
    the variance that a finite set adds to one run's score beyond what all runs share, so a floor for the
    variance between seeds.
    """
    return float(np.mean(np.var(scores, axis=0, ddof=1)))


def examples_covariance(scores: Sequence[Array]) -> Array:
    """Covariance of K backbones' mean scores from having drawn these test examples: shape (K, K).

    scores: per backbone the per-example scores of its confirmations, shape (r_k, num_test), r_k >= 2, the
    same examples in the same order. A run's score is the mean of its examples' (accuracy, R2). Backbones fail
    on the same hard examples, so differences are known much better than scores. On the diagonal the noise
    between runs is removed: seeds are counted elsewhere. A backbone's own variance depends on no other
    backbone. Not necessarily positive semidefinite.
    """
    means = np.stack([runs.mean(axis=0) for runs in scores])
    return paired_covariance(means, np.array([run_noise(runs) / len(runs) for runs in scores]))


def paired_covariance(means: Array, noise: Array) -> Array:
    """`examples_covariance` of what each example adds to each backbone's score, (K, num_test), with the variance
    between runs that is in each of these numbers, (K,): shape (K, K)."""
    num_test = means.shape[1]
    centred = means - means.mean(axis=1, keepdims=True)
    covariance: Array = centred @ centred.T / max(num_test - 1, 1)
    diagonal = np.arange(len(means))
    covariance[diagonal, diagonal] = np.maximum(np.diag(covariance) - noise, 0.0)
    covariance /= num_test
    return covariance


def examples_bound(scores: Array, num_test: int) -> Array:
    """A stand-in for `examples_covariance` when the metric is macro F1: shape (K, K), diagonal.

    Per-example correctness does not give macro F1's variance: an error in a rare class weighs more. Macro
    recall over C classes with shares p_c has about (1 / C^2) sum 1 / p_c times the variance of an accuracy,
    which is 4 for two classes of 93 % and 7 %. So: 4 f (1 - f) / num_test, with f moved to within [0.1, 0.9]
    so that a perfect score keeps a variance, and no pairing between backbones although there is some.

    Against redrawn test sets it is 1.0 times the variance of macro F1 at 93 % / 7 %, 2 times with 10 or 50
    classes of shares 1 / rank, 7 times with 10 equal classes, and only half of it at 97 % / 3 %: there the
    interval of a score is too narrow, and that of a difference leans on the pairing which is not counted.
    Sharper would need the predicted labels.
    """
    level = np.clip(scores, 0.1, 0.9)
    return np.diag(_F1_INFLATION * level * (1.0 - level) / num_test)


def nearest_psd(matrix: Array) -> Array:
    """The symmetric matrix with its negative eigenvalues set to zero."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    if values.min() >= 0:
        return matrix
    repaired: Array = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return repaired


def joint_draws(covariance: Array, seed: int) -> Array:
    """Zero-mean normal draws with this covariance (K, K), singular or not: shape (10000, K)."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng([seed, 1]).standard_normal((_DRAWS, len(covariance)))
    draws: Array = normal @ root.T
    return draws


@dataclass(frozen=True, slots=True)
class Simultaneous:
    """All pairwise claims about K scores at once."""

    critical: float  # quantile of the largest studentised error over all ordered pairs; 0 with one backbone
    better: npt.NDArray[np.bool_]  # (K, K): row is significantly better than column (step-down)
    sd: Array  # (K, K), of row minus column where row is claimed to be the better one
    low: npt.NDArray[np.intp]  # (K,), best possible rank, 1-based
    high: npt.NDArray[np.intp]  # (K,), worst possible rank


def simultaneous(
    scores: Array, covariance: Array, confidence: float, seed: int, regret_squares: Array | None = None
) -> Simultaneous:
    """Step-down maximum over all ordered pairs, and the rank intervals that follow.

    scores: (K,). covariance: (K, K), of their errors. regret_squares: (K,), mean square of what more tuning
    would add to each; None is none. With probability `confidence` no pair is put in the wrong order, hence
    all true ranks lie in [1 + significantly better ones, K - significantly worse ones] together (Romano and
    Wolf 2005 for the step-down: what is rejected makes room for the rest).

    Regret has one sign. "A beats B" can only be spoilt by what B has not found yet; what A has not found
    makes it truer. So the claim is held against B's regret alone, taken as half-normal. Without regret this
    is the two-sided max-|t| over unordered pairs.

    `critical` is the first step's quantile: difference - critical * sd is a simultaneous lower limit; the
    step-down may decide a pair whose limit just touches zero.
    """
    count = len(scores)
    regret_squares = np.zeros(count) if regret_squares is None else regret_squares
    variances = np.diag(covariance)
    squares = np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0.0) + regret_squares[None, :]
    np.fill_diagonal(squares, 0.0)
    spread = np.sqrt(squares)
    # Rounding leaves about 1e-9 where two errors are one and the same: there the order is plain.
    safe = np.where(spread > 1e-9, spread, np.inf)
    difference = scores[:, None] - scores[None, :]
    statistic = difference / safe
    statistic[(spread <= 1e-9) & (difference > 1e-9)] = np.inf
    draws = joint_draws(covariance, seed)
    regrets = np.abs(np.random.default_rng([seed, 4]).standard_normal(draws.shape)) * np.sqrt(regret_squares)
    open_pairs = ~np.eye(count, dtype=np.bool_)
    better = np.zeros_like(open_pairs)
    first: float | None = None
    while open_pairs.any():
        critical = _quantile_of_max(draws, regrets, safe, open_pairs, confidence)
        first = critical if first is None else first
        found = open_pairs & (statistic > critical)
        if not found.any():
            break
        better |= found
        # A decided pair is closed in both directions: its order is no longer in question.
        open_pairs &= ~(found | found.T)
    low = 1 + better.sum(axis=0)
    high = count - better.sum(axis=1)
    return Simultaneous(first or 0.0, better, spread, low, high)


def _quantile_of_max(draws: Array, regrets: Array, sd: Array, pairs: npt.NDArray[np.bool_], confidence: float) -> float:
    largest = np.zeros(len(draws))
    for row in range(len(sd)):  # a row of pairs at a time: K^2 columns of draws would not fit for large K
        columns = np.flatnonzero(pairs[row])
        if len(columns):
            errors = draws[:, [row]] - draws[:, columns] + regrets[:, columns]
            largest = np.maximum(largest, (errors / sd[row, columns]).max(axis=1))
    return float(np.quantile(largest, confidence))
