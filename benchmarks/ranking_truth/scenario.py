"""The worlds in which rankers are tried: how far backbones differ, and what blurs the view of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from benchmarks.ranking_truth.model import Model, Roughness, Space

__all__ = ["NUM_MODELS", "SCENARIOS", "SPACE", "Scenario"]

NUM_MODELS = 8
TOP = 0.88

SPACE = Space(num_blocks=7, deepest=6, rates=(-5.5, -1.5), heads=(-2.5, -2.5))
"""Four decades of learning rate and seven depths, none of them a linear probe: that has no learning rate, and
here it matters at every depth. The head's learning rate is fixed."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a world of this kind is drawn from. Scores are fractions."""

    spread: float = 0.05
    """The true best of every backbone is TOP less a uniform draw from [0, spread]."""

    num_tied: int = 1
    """So many share the highest of these draws exactly."""

    seed_sd: tuple[float, float] = (0.001, 0.009)
    num_val: int = 2_000
    num_test: int = 5_000
    rough_sd: float = 0.0
    """Of a field on the surface that no smooth model follows."""

    collapse: float = 0.0
    """Probability that a run, of the search or a confirmation, diverges."""

    def models(self, rng: np.random.Generator, num_models: int = NUM_MODELS) -> dict[str, Model]:
        """Backbones in random order."""
        bests = np.sort(TOP - rng.uniform(0, self.spread, num_models))[::-1]
        bests[: self.num_tied] = bests[0]
        bests = rng.permutation(bests)
        return {f"m{index}": self._model(best, rng) for index, best in enumerate(bests.tolist())}

    def _model(self, best: float, rng: np.random.Generator) -> Model:
        model = Model(
            rate=rng.uniform(-3.8, -2.6),
            rate_shift=rng.uniform(0.0, 1.0),
            rate_cost=rng.uniform(0.005, 0.04),
            depth=rng.uniform(0.0, 6 / 7),
            depth_cost=rng.uniform(0.005, 0.05),
            cliff=rng.uniform(0.8, 1.6),
            seed_sd=rng.uniform(*self.seed_sd),
            roughness=Roughness.draw(rng, self.rough_sd) if self.rough_sd else None,
        )
        return model.levelled(best, SPACE)


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "spread": Scenario(),
        "close": Scenario(spread=0.02),
        "noisy": Scenario(seed_sd=(0.001, 0.012), num_val=500, num_test=1_000),
        "tied3": Scenario(num_tied=3),
        "rough": Scenario(rough_sd=0.006),
        "fails": Scenario(collapse=0.04),
    }
)
