"""The response surface of one study: score over freeze_frac, log10 learning_rate, log10 head_learning_rate.

A Gaussian process with a Matern 5/2 kernel and an unknown constant mean. Near its optimum the surface of real
fine-tuning is simple (Lourie, Hu and Cho 2025, arXiv:2510.02721), which is the licence for a smooth prior.
The hyper-parameters are averaged over a fixed grid by their restricted (mean integrated out) likelihood times
a prior: with 4 to 12 runs a single best setting would be noise, and a fit that looks at one study only cannot
be moved by which other backbones are in the table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular

__all__ = ["Compression", "Surface", "embed", "fit"]

Array = npt.NDArray[np.float64]

# Length scales in natural units (share of the network, decades), so they mean the same for every backbone.
_LENGTHS = tuple(itertools.product((0.4, 1.2), (0.7, 1.5, 3.5), (1.5, 5.0)))
_SIGNAL_SDS = (0.01, 0.02, 0.04, 0.08, 0.16)
_SEED_SDS = (0.002, 0.004, 0.008, 0.016, 0.032)
_SIGNAL_PRIOR = (math.log(0.03), 0.8)  # mean and sd of the log
_SEED_PRIOR = (math.log(0.006), 0.7)
_MEAN_SD = 1.0  # of the constant mean around the data's own: a whole score range, flat for any purpose
_JITTER = 1e-6  # relative to the signal variance: sd 0.001 of it, invisible, and every matrix is regular

_ARC_RADIUS = 2.0  # decades
_ARC_CENTRE = -3.5  # log10 of the rate in the middle of the arc
_ARC_REACH = 3.1  # decades either side: the chord grows with the distance up to pi * radius
_COMPRESSION_SCALE = 0.05


def embed(
    freeze_frac: Sequence[float] | Array,
    learning_rate: Sequence[float | None],
    head_learning_rate: Sequence[float] | Array,
) -> Array:
    """Coordinates for the kernel, shape (n, 4): freeze_frac, two for learning_rate, log10 head_learning_rate.

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
    return np.column_stack([np.asarray(freeze_frac, dtype=np.float64), arc, head])


@dataclass(frozen=True, slots=True)
class Compression:
    """Scores as they are above `top`, logarithmic below: a diverged run says "bad here", no more.

    h(y) = top - c log(1 + (top - y) / c) with c = 0.05, slope 1 at `top`; monotone, so it changes no order.
    """

    top: float

    @classmethod
    def of(cls, scores: Array) -> Compression:
        """The compression of one study's runs: `top` is the upper quartile of their scores."""
        return cls(float(np.quantile(scores, 0.75)))

    def apply(self, scores: Array) -> Array:
        deficit = np.maximum(self.top - scores, 0.0)
        fallen = _COMPRESSION_SCALE * np.log1p(deficit / _COMPRESSION_SCALE)
        lowered: Array = np.maximum(scores, self.top) - fallen
        return lowered

    def invert(self, lowered: Array) -> Array:
        deficit = np.maximum(self.top - lowered, 0.0)
        # A draw far below every run would overflow to -inf; a score cannot fall by more than 1.
        growth = np.expm1(np.minimum(deficit / _COMPRESSION_SCALE, 10.0))
        fallen = np.minimum(_COMPRESSION_SCALE * growth, 1.0)
        scores: Array = np.maximum(lowered, self.top) - fallen
        return scores


@dataclass(frozen=True, slots=True)
class Surface:
    """The posterior over a study's surface: a mixture over the hyper-parameter grid.

    Scores go in and come out in the metric's unit; in between they are compressed.
    """

    points: Array  # (n, 4), from `embed`
    targets: Array  # (n,), compressed and centred
    offset: float
    compression: Compression
    noise_floor: float
    weights: Array  # (cells,), posterior weights of the grid's cells, summing to 1

    def moments(self, at: Array) -> tuple[Array, Array]:
        """Posterior mean and variance of the compressed noise-free surface at `at` (m, 4): shapes (m,)."""
        means = np.zeros((len(self.weights), len(at)))
        variances = np.zeros_like(means)
        for index, cell in enumerate(_CELLS):
            if self.weights[index] > 0:
                means[index], variances[index] = self._conditional(cell, at)
        mean = self.weights @ means
        variance = self.weights @ (variances + (means - mean) ** 2)
        return mean + self.offset, variance

    def mean(self, at: Array) -> Array:
        """Posterior mean at `at` (m, 4) on the metric's scale (back-transformed mean), shape (m,)."""
        return self.compression.invert(self.moments(at)[0])

    def draw(self, at: Array, num: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """`num` joint posterior draws of the noise-free surface at `at` (m, 4), in the metric's unit.

        Returns the draws, shape (num, m), and the sd between seeds that belongs to each draw, shape (num,).
        Matheron's rule: a prior draw, moved by what it gets wrong at the data.
        """
        cells = _systematic(self.weights, num)
        everywhere, back = np.unique(np.vstack([self.points, at]), axis=0, return_inverse=True)
        back = back.reshape(-1)
        seen, wanted = back[: len(self.points)], back[len(self.points) :]
        normal = rng.standard_normal((num, len(everywhere)))
        shift = _MEAN_SD * rng.standard_normal((num, 1))
        noise = rng.standard_normal((num, len(self.points)))
        draws = np.empty((num, len(at)))
        for lengths in _LENGTHS:
            correlation = _correlation(everywhere, everywhere, lengths)
            root = np.linalg.cholesky(correlation + _JITTER * np.eye(len(everywhere)))
            for cell in np.unique(cells):
                if _CELLS[cell].lengths != lengths:
                    continue
                rows = np.flatnonzero(cells == cell)
                factor, _ = self._factor(_CELLS[cell])
                prior = _CELLS[cell].signal_sd * normal[rows] @ root.T + shift[rows]
                sd = math.sqrt(_CELLS[cell].seed_sd ** 2 + self.noise_floor)
                residual = self.targets - prior[:, seen] - sd * noise[rows]
                cross = _CELLS[cell].signal_sd ** 2 * correlation[np.ix_(wanted, seen)] + _MEAN_SD**2
                draws[rows] = prior[:, wanted] + (cross @ cho_solve((factor, True), residual.T)).T
        seed_sds = np.array([_CELLS[cell].seed_sd for cell in cells])
        return self.compression.invert(draws + self.offset), seed_sds

    def _factor(self, cell: _Cell) -> tuple[Array, Array]:
        """Cholesky factor of the data's covariance, and that factor's solution for the targets."""
        covariance = cell.covariance(self.points, self.points)
        covariance[np.diag_indices_from(covariance)] += cell.seed_sd**2 + self.noise_floor
        factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        return factor, solve_triangular(factor, self.targets, lower=True)

    def _conditional(self, cell: _Cell, at: Array) -> tuple[Array, Array]:
        factor, whitened = self._factor(cell)
        projected = solve_triangular(factor, cell.covariance(self.points, at), lower=True)
        variance = cell.signal_sd**2 + _MEAN_SD**2 - np.sum(projected**2, axis=0)
        return projected.T @ whitened, np.maximum(variance, 0.0)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One setting of the hyper-parameters."""

    lengths: tuple[float, float, float]
    signal_sd: float
    seed_sd: float

    def covariance(self, a: Array, b: Array) -> Array:
        return self.signal_sd**2 * _correlation(a, b, self.lengths) + _MEAN_SD**2

    def log_prior(self) -> float:
        signal = (math.log(self.signal_sd) - _SIGNAL_PRIOR[0]) / _SIGNAL_PRIOR[1]
        seed = (math.log(self.seed_sd) - _SEED_PRIOR[0]) / _SEED_PRIOR[1]
        return -0.5 * (signal**2 + seed**2)


_CELLS = tuple(_Cell(*cell) for cell in itertools.product(_LENGTHS, _SIGNAL_SDS, _SEED_SDS))


def fit(points: Array, scores: Array, noise_floor: float = 0.0) -> Surface:
    """Fit the surface of one study.

    points: (n, 4) from `embed`, n >= 1; repeated rows are replicates. scores: (n,), fractions.
    noise_floor: known part of the variance between two runs of one configuration, >= 0, in score units
    squared. Deterministic; n = 1 gives the prior around that one score.
    """
    compression = Compression.of(scores)
    lowered = compression.apply(scores)
    offset = float(np.mean(lowered))
    targets = lowered - offset
    blank = Surface(points, targets, offset, compression, noise_floor, np.ones(len(_CELLS)))
    evidence = np.empty(len(_CELLS))
    for index, cell in enumerate(_CELLS):
        factor, whitened = blank._factor(cell)
        evidence[index] = cell.log_prior() - np.log(np.diag(factor)).sum() - 0.5 * whitened @ whitened
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    weights[weights < 1e-6] = 0.0  # 300 cells: what is dropped weighs less than 0.0003 together
    return Surface(points, targets, offset, compression, noise_floor, weights / weights.sum())


def _correlation(a: Array, b: Array, lengths: tuple[float, float, float]) -> Array:
    """Matern 5/2 correlation between the rows of a (n, 4) and b (m, 4): shape (n, m)."""
    depth, rate, head = lengths
    scale = np.array([depth, rate, rate, head])
    difference = (a[:, None, :] - b[None, :, :]) / scale
    distance = math.sqrt(5.0) * np.sqrt(np.sum(difference**2, axis=-1))
    correlation: Array = (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
    return correlation


def _systematic(weights: Array, num: int) -> npt.NDArray[np.intp]:
    """Indices of `num` cells in proportion to `weights`: no cell's count is off by one or more."""
    positions = (np.arange(num) + 0.5) / num
    found: npt.NDArray[np.intp] = np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
    return found
