"""Backbones whose true response surface is known: expected score over freezing depth and learning rates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["CHANCE", "Config", "Model", "Roughness", "Space"]

Array = npt.NDArray[np.float64]

CHANCE = 0.1
"""Least expected score: ten equal classes."""

_RATES_OF_GRID = 401

Config = tuple[int, float | None, float]
"""freeze_depth, learning_rate (None where every block is frozen), head_learning_rate."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched. Rates in log10; a range of no width is a fixed value."""

    num_blocks: int = 8
    deepest: int = 8  # deepest freezing depth searched; num_blocks is the linear probe
    rates: tuple[float, float] = (-5.0, -1.5)
    heads: tuple[float, float] = (-4.0, -1.0)

    def draw(self, rng: np.random.Generator) -> Config:
        """A random configuration."""
        depth = int(rng.integers(0, self.deepest + 1))
        rate, head = 10 ** rng.uniform(*self.rates), 10 ** rng.uniform(*self.heads)
        return depth, None if depth == self.num_blocks else rate, head


@dataclass(frozen=True, kw_only=True, eq=False)
class Roughness:
    """A random field over depth and log10 learning_rate, mean 0: a sum of waves."""

    waves: Array  # (m, 3): frequency along freeze_depth and the rate, phase
    sd: float

    @classmethod
    def draw(cls, rng: np.random.Generator, sd: float, *, reach: tuple[float, float] = (1.0, 0.3)) -> Roughness:
        """reach: correlation length in blocks and decades, of a squared exponential."""
        frequencies = rng.standard_normal((48, 2)) / reach
        return cls(waves=np.column_stack([frequencies, rng.uniform(0, 2 * np.pi, 48)]), sd=sd)

    def at(self, depth: npt.ArrayLike, rate: npt.ArrayLike) -> Array:
        place = np.stack(np.broadcast_arrays(depth, rate, 1.0), axis=-1)
        value: Array = self.sd * np.sqrt(2 / len(self.waves)) * np.cos(place @ self.waves.T).sum(axis=-1)
        return value


@dataclass(frozen=True, kw_only=True)
class Model:
    """A backbone's true surface. Rates in log10, losses in fractions.

    Quadratic in the rate about an optimum that moves with depth, quadratic in the depth, and a cliff where
    training diverges.
    """

    best: float = 0.88
    rate: float = -3.0  # best log10 learning_rate when everything tunes
    rate_shift: float = 0.5  # decades it falls from full tuning to the last block
    rate_cost: float = 0.015  # per squared decade
    depth: float = 0.3  # best freeze_frac
    depth_cost: float = 0.05  # per squared freeze_frac
    head_cost: float = 0.002
    cliff: float = 1.2  # decades above the best rate where training starts to diverge
    seed_sd: float = 0.004
    roughness: Roughness | None = None

    def expected(self, depth: npt.ArrayLike, rate: npt.ArrayLike, head: npt.ArrayLike, num_blocks: int) -> Array:
        """Expected accuracy by freeze_depth in blocks, log10 of both rates; a rate of NaN is the linear probe."""
        depth, rate, head = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (depth, rate, head)))
        freeze_frac = depth / num_blocks
        loss = self.depth_cost * (freeze_frac - self.depth) ** 2 + self.head_cost * (head + 2.5) ** 2
        away = rate - (self.rate - self.rate_shift * freeze_frac)
        tuned = self.rate_cost * away**2 + 0.25 * np.maximum(away - self.cliff, 0.0)
        loss = loss + np.where(np.isnan(rate), 0.0, tuned)
        if self.roughness is not None:
            loss = loss - self.roughness.at(depth, np.nan_to_num(rate))
        return np.asarray(np.maximum(self.best - loss, CHANCE))

    def of(self, config: Config, space: Space) -> float:
        """Expected accuracy of a configuration."""
        depth, rate, head = config
        level = np.nan if rate is None else np.log10(rate)
        return float(self.expected(depth, level, np.log10(head), space.num_blocks))

    def grid(self, space: Space, rates: int = 25, heads: int = 7) -> Array:
        """True accuracies on a grid of the space, every value equally likely under random search."""
        depth, rate, head = np.meshgrid(
            np.arange(space.deepest + 1.0), np.linspace(*space.rates, rates), np.linspace(*space.heads, heads)
        )
        return self.expected(depth, np.where(depth == space.num_blocks, np.nan, rate), head, space.num_blocks).ravel()

    def attainable(self, space: Space) -> float:
        """The most that any configuration gives in expectation, to 1e-5."""
        return float(self.grid(space, rates=_RATES_OF_GRID).max())

    def levelled(self, best: float, space: Space) -> Model:
        """The same surface moved so that its maximum over the space is `best`."""
        return replace(self, best=self.best + best - self.attainable(space))
