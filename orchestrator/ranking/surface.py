"""The response surface of one study: score over the tuned blocks, log10 learning_rate, log10 head_learning_rate.

A quadratic trend plus a Gaussian process with a Matern 5/2 kernel for what is not quadratic. Near its optimum
the surface of real fine-tuning is a noisy quadratic (Lourie, Hu and Cho 2025, arXiv:2510.02721); without the
trend a stationary process believes every unvisited corner to be as good as the middle. The trend's
coefficients have a normal prior and are integrated out (so the likelihood is the restricted one). The
kernel's hyper-parameters are averaged over a fixed grid by that likelihood times a prior: with 4 to 12 runs a
single best setting would be noise, and a fit that looks at one study only cannot be moved by which other
backbones are in the table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dtrtrs
from scipy.spatial.distance import cdist

from orchestrator.ranking.scale import Bent

__all__ = ["Surface", "embed", "fit"]

Array = npt.NDArray[np.float64]

# Length scales in natural units (share of the network, decades), so they mean the same for every backbone.
_LENGTHS = tuple(itertools.product((0.4, 1.2), (0.7, 1.5, 3.5), (1.5, 5.0)))
_SPREADS = np.array(  # (signal sd, sd between seeds), in score units
    list(itertools.product((0.01, 0.02, 0.04, 0.08, 0.16, 0.32), (0.002, 0.004, 0.008, 0.016, 0.032)))
)
# Log-normal prior of both: medians 0.05 and 0.006, sds of the log 1.0 and 0.7.
_LOG_PRIOR = -0.5 * np.sum(((np.log(_SPREADS) - np.log([0.05, 0.006])) / [1.0, 0.7]) ** 2, axis=1)
# Trend: 1; freeze_frac, learning_rate, head_learning_rate from mid-range; their squares. Prior mean and
# variance of each coefficient, in score per unit (all of freeze_frac, one decade; squared). The constant's
# is a whole score range: flat for any purpose. Squares are expected below zero: there is one best rate and
# one best depth.
_TREND_MEAN = np.array([0.0, 0.0, 0.0, 0.0, -0.03, -0.010, -0.002])
_TREND_VARIANCE = np.array([1.0, 0.05, 0.02, 0.01, 0.03, 0.010, 0.003]) ** 2
_BELOW_SEEN = 0.05  # score
_ASKED_FIRST = 40  # runs that tell which hyper-parameters are worth a look, where there are twice as many
_FAR_BEHIND = 12.0  # in units of log evidence
_JITTER = 1e-6  # relative to the signal variance: sd 0.001 of it, invisible, and every matrix is regular

_ARC_RADIUS = 2.0  # decades
_ARC_CENTRE = -3.5  # log10 of the rate in the middle of the arc
_HEAD_CENTRE = -2.5  # the same for the head's rate
_ARC_REACH = 3.1  # decades either side: the chord grows with the distance up to pi * radius


def embed(
    freeze_frac: Sequence[float] | Array,
    learning_rate: Sequence[float | None],
    head_learning_rate: Sequence[float] | Array,
    tune_stop_frac: Sequence[float] | Array | float = 1.0,
) -> Array:
    """Coordinates for the kernel, shape (n, 5): freeze_frac, two for learning_rate, log10 head_learning_rate,
    tune_stop_frac. Windows of blocks differ in both their ends; what is the same for all runs of a study, as
    the end is where only depths are searched, adds nothing to any distance.

    A linear probe has no learning rate. Imputing one would make the probe resemble whatever was tuned near
    that rate, so active rates lie on an arc of radius two decades and the probe at its centre: the same
    distance from every rate, and positive definite (the conditional kernel of Hutter and Osborne 2013,
    arXiv:1310.5738).
    """
    arc = np.zeros((len(learning_rate), 2))
    for row, rate in enumerate(learning_rate):
        if rate is not None:
            decades = min(max(math.log10(rate) - _ARC_CENTRE, -_ARC_REACH), _ARC_REACH)
            angle = decades / _ARC_RADIUS
            arc[row] = _ARC_RADIUS * math.cos(angle), _ARC_RADIUS * math.sin(angle)
    head = np.log10(np.asarray(head_learning_rate, dtype=np.float64))
    start = np.asarray(freeze_frac, dtype=np.float64)
    stop = np.broadcast_to(np.asarray(tune_stop_frac, dtype=np.float64), start.shape)
    return np.column_stack([start, arc, head, stop])


@dataclass(frozen=True, slots=True)
class _Cells:
    """Of the grid's cells with the same length scales those that weigh anything."""

    lengths: tuple[float, float, float]
    weights: Array  # (k,), posterior
    spreads: Array  # (k, 2), of _SPREADS
    factor: Array  # (k, n, n), Cholesky factor of the data's covariance
    whitened: Array  # (k, n), its solution for the targets

    @property
    def signal_variances(self) -> Array:
        """(k, 1, 1)"""
        variances: Array = self.spreads[:, 0, None, None] ** 2
        return variances


@dataclass(frozen=True, slots=True)
class Surface:
    """The posterior over a study's surface: a mixture over the hyper-parameter grid.

    Scores go in and come out in the metric's unit; in between they are on the `Bent` scale.
    """

    points: Array  # (n, 5), from `embed`
    targets: Array  # (n,), on the `Bent` scale and centred
    offset: float
    scale: Bent
    noise_floor: float  # on that scale
    cells: tuple[_Cells, ...]  # weights sum to 1 over all
    low: float  # least score that it says, in the metric's unit

    def moments(self, at: Array) -> tuple[Array, Array]:
        """Posterior mean and variance of the noise-free surface at `at` (m, 5), on the `Bent` scale: (m,)."""
        trend = _trend(at)
        trend_covariance = (_trend(self.points) * _TREND_VARIANCE) @ trend.T
        trend_variance = trend**2 @ _TREND_VARIANCE
        means, squares = np.zeros(len(at)), np.zeros(len(at))
        for cells in self.cells:
            cross = cells.signal_variances * _correlation(self.points, at, cells.lengths) + trend_covariance
            projected = _forward(cells.factor, cross)
            mean = np.sum(projected * cells.whitened[:, :, None], axis=1)
            prior = cells.signal_variances[:, :, 0] + trend_variance
            variance = np.maximum(prior - np.sum(projected**2, axis=1), 0.0)
            means += cells.weights @ mean
            squares += cells.weights @ (variance + mean**2)
        return means + trend @ _TREND_MEAN + self.offset, np.maximum(squares - means**2, 0.0)

    def mean(self, at: Array) -> Array:
        """Posterior mean at `at` (m, 5) on the metric's scale (back-transformed mean), shape (m,)."""
        return self.scale.invert(self._mean(at), self.low)

    def _mean(self, at: Array) -> Array:
        """The first of `moments`, at a hundredth of its cost: the variance takes a solution per point."""
        trend = _trend(at)
        mean: Array = trend @ _TREND_MEAN + self.offset
        trend_covariance = (_trend(self.points) * _TREND_VARIANCE) @ trend.T
        for cells in self.cells:
            solution = _backward(cells.factor, cells.whitened[:, :, None])[:, :, 0]
            solution *= cells.weights[:, None]
            signal = np.sum(cells.signal_variances[:, :, 0] * solution, axis=0)
            mean += signal @ _correlation(self.points, at, cells.lengths)
            mean += np.sum(solution, axis=0) @ trend_covariance
        return mean

    def draw(self, at: Array, num: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """`num` joint posterior draws of the noise-free surface at `at` (m, 5), in the metric's unit.

        Returns the draws, shape (num, m), and the sd between seeds that belongs to each draw, shape (num,), in
        the same unit. Matheron's rule: a prior draw, moved by what it gets wrong at the data.
        """
        of_each = _systematic(np.concatenate([cells.weights for cells in self.cells]), num)
        everywhere, back = np.unique(np.vstack([self.points, at]), axis=0, return_inverse=True)
        back = back.reshape(-1)
        seen, wanted = back[: len(self.points)], back[len(self.points) :]
        normal = rng.standard_normal((num, len(everywhere)))
        trend = _trend(everywhere)
        slopes = np.sqrt(_TREND_VARIANCE) * rng.standard_normal((num, len(_TREND_VARIANCE)))
        shift = slopes @ trend.T
        trend_covariance = (trend[wanted] * _TREND_VARIANCE) @ trend[seen].T
        noise = rng.standard_normal((num, len(self.points)))
        draws = np.empty((num, len(at)))
        seed_sds = np.empty(num)
        first = 0  # of the cells of these length scales
        for cells in self.cells:
            correlation = _correlation(everywhere, everywhere, cells.lengths)
            root = np.linalg.cholesky(correlation + _JITTER * np.eye(len(everywhere)))
            cross = correlation[np.ix_(wanted, seen)]
            for factor, (signal_sd, seed_sd) in zip(cells.factor, cells.spreads, strict=True):
                rows = np.flatnonzero(of_each == first)
                first += 1
                if not len(rows):
                    continue
                prior = signal_sd * normal[rows] @ root.T + shift[rows]
                sd = math.sqrt(seed_sd**2 + self.noise_floor)
                residual = self.targets - prior[:, seen] - sd * noise[rows]
                moved = cho_solve((factor, True), residual.T, check_finite=False)
                draws[rows] = prior[:, wanted] + ((signal_sd**2 * cross + trend_covariance) @ moved).T
                seed_sds[rows] = seed_sd / self.scale.slope
        return self.scale.invert(draws + trend[wanted] @ _TREND_MEAN + self.offset, self.low), seed_sds


def fit(points: Array, scores: Array, noise_floor: float = 0.0, low: float = 0.0) -> Surface:
    """Fit the surface of one study.

    points: (n, 5) from `embed`, n >= 1; repeated rows are replicates. scores: (n,), at most 1. noise_floor:
    known part of the variance between two runs of one configuration, >= 0, in score units squared. low: what
    scores below count as, see `scale.lowest`: a diverged regression has an R2 of minus thousands, which says no
    more than "bad here". Deterministic; n = 1 gives the prior around that one score.

    What the surface says never lies more than _BELOW_SEEN under the lowest score seen: where little was tried its
    lower tail is long, and in scores, from which the scale has to be undone, longer still.
    """
    scores = np.maximum(scores, low)
    low = max(low, float(np.min(scores)) - _BELOW_SEEN)
    scale = Bent.of(scores)
    values = scale.apply(scores)
    offset = float(np.mean(values))
    noise_floor *= scale.slope**2
    targets = values - offset - _trend(points) @ _TREND_MEAN
    weighed = _worth_a_look(points, targets, noise_floor)
    found = []
    for lengths, looked_at in zip(_LENGTHS, weighed, strict=True):
        if looked_at.any():
            spreads = _SPREADS[looked_at]
            factor, whitened = _whiten(points, targets, noise_floor, lengths, spreads)
            evidence = _log_evidence(factor, whitened) + _LOG_PRIOR[looked_at]
            found.append((lengths, evidence, spreads, factor, whitened))
    peak = max(float(evidence.max()) for _, evidence, *_ in found)
    total = math.fsum(float(np.exp(evidence - peak).sum()) for _, evidence, *_ in found)
    # 360 cells: what is dropped weighs at most 0.0004 together.
    least = math.log(1e-6 * total) + peak
    total = math.fsum(float(np.exp(evidence - peak)[evidence >= least].sum()) for _, evidence, *_ in found)
    cells = tuple(
        _Cells(lengths, np.exp(evidence[kept] - peak) / total, spreads[kept], factor[kept], whitened[kept])
        for lengths, evidence, spreads, factor, whitened in found
        if (kept := evidence >= least).any()
    )
    return Surface(points, targets, offset, scale, noise_floor, cells, low)


def _worth_a_look(points: Array, targets: Array, noise_floor: float) -> npt.NDArray[np.bool_]:
    """Of each cell of the grid, (lengths, spreads): whether it may weigh anything. All of them with few runs.

    Of many runs every so many are asked first, at a fraction of the cost: a cell that falls so far behind on a part
    of them does not come back on the whole.
    """
    every = len(points) // _ASKED_FIRST
    if every < 2:
        return np.ones((len(_LENGTHS), len(_SPREADS)), dtype=np.bool_)
    evidence = np.stack(
        [
            _log_evidence(*_whiten(points[::every], targets[::every], noise_floor, lengths, _SPREADS)) + _LOG_PRIOR
            for lengths in _LENGTHS
        ]
    )
    hopeful: npt.NDArray[np.bool_] = evidence > evidence.max() - _FAR_BEHIND
    return hopeful


def _log_evidence(factor: Array, whitened: Array) -> Array:
    """Of each spread, up to a constant."""
    half_log_determinant = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    log_evidence: Array = -half_log_determinant - 0.5 * np.sum(whitened**2, axis=1)
    return log_evidence


def _whiten(
    points: Array, targets: Array, noise_floor: float, lengths: tuple[float, float, float], spreads: Array
) -> tuple[Array, Array]:
    """Per spread of s: Cholesky factor of the data's covariance (s, n, n); its solution for targets (s, n)."""
    trend = _trend(points)
    covariance = (
        spreads[:, 0, None, None] ** 2 * _correlation(points, points, lengths) + (trend * _TREND_VARIANCE) @ trend.T
    )
    diagonal = np.arange(len(points))
    covariance[:, diagonal, diagonal] += spreads[:, 1:] ** 2 + noise_floor
    factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    whitened = _forward(factor, np.broadcast_to(targets[:, None], (len(factor), len(targets), 1)))
    return factor, whitened[:, :, 0]


def _forward(factor: Array, right: Array) -> Array:
    """Solutions of factor @ x = right, lower triangular: factor (s, n, n), right (s, n, m) -> (s, n, m)."""
    return _triangular(factor.swapaxes(1, 2), right, trans=1)


def _backward(factor: Array, right: Array) -> Array:
    """Solutions of factor.T @ x = right."""
    return _triangular(factor.swapaxes(1, 2), right, trans=0)


def _triangular(upper: Array, right: Array, *, trans: int) -> Array:
    # LAPACK itself: with few runs the systems are tiny, and there are 360 of them in a fit.
    return np.stack([dtrtrs(one, of_one, lower=0, trans=trans)[0] for one, of_one in zip(upper, right, strict=True)])


def _trend(points: Array) -> Array:
    """The trend's features at `points` (n, 5): shape (n, 7). A linear probe has none of a learning rate."""
    depth = points[:, 0] - 0.5
    rate = _ARC_RADIUS * np.arctan2(points[:, 2], points[:, 1])
    head = points[:, 3] - _HEAD_CENTRE
    return np.column_stack([np.ones(len(points)), depth, rate, head, depth**2, rate**2, head**2])


def _correlation(a: Array, b: Array, lengths: tuple[float, float, float]) -> Array:
    """Matern 5/2 correlation between the rows of a (n, 5) and b (m, 5): shape (n, m)."""
    depth, rate, head = lengths
    scale = np.array([depth, rate, rate, head, depth])
    distance = math.sqrt(5.0) * cdist(a / scale, b / scale)
    correlation: Array = (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
    return correlation


def _systematic(weights: Array, num: int) -> npt.NDArray[np.intp]:
    """Indices of `num` cells in proportion to `weights`: no cell's count is off by one or more."""
    positions = (np.arange(num) + 0.5) / num
    found: npt.NDArray[np.intp] = np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
    return found
