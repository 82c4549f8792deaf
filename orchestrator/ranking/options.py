"""What a caller may set about a ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["COMPONENTS", "DEFAULT_WEIGHTS", "MEASURED", "RaceEnd", "RankingOptions"]

COMPONENTS = ("quality", "ease", "data_efficiency", "robustness")
MEASURED = ("quality", "ease")  # what the tables hold today; the others are named and dropped for all alike
DEFAULT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"quality": 0.60, "ease": 0.20, "data_efficiency": 0.10, "robustness": 0.10}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RaceEnd:
    """How the race of one task ended: what a ranking must know to compare only what was measured alike."""

    dropped: Mapping[str, str]
    """Backbone -> when and why it was dropped, in words."""

    sentence: str
    """The end in words, with the trials it took of those there were."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingOptions:
    """Options of `rank`. All scores are fractions.

    Raises ValueError, naming every offending value, when one is out of range.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    """Component -> weight, >= 0. The weight of a component that was not measured is spread over the rest."""

    eps: float = 0.005
    """Practical margin: a difference below it is no difference to a user. Fraction of score, >= 0."""

    confidence: float = 0.95
    """Level of the score intervals, the simultaneous pair intervals and the rank intervals, in (0.5, 1)."""

    seed: int = 0
    """Seed of all Monte-Carlo draws, >= 0. Two calls with equal tables and options agree to the bit."""

    def __post_init__(self) -> None:
        problems = [f"unknown weight {name!r}" for name in sorted(set(self.weights) - set(COMPONENTS))]
        problems += [
            f"weight {name!r} is {weight}, must be finite and >= 0"
            for name, weight in self.weights.items()
            if not (math.isfinite(weight) and weight >= 0)
        ]
        if not problems and not sum(self.weights.get(name, 0.0) for name in MEASURED) > 0:
            problems.append(f"no weight on what is measured ({', '.join(MEASURED)})")
        if not (math.isfinite(self.eps) and self.eps >= 0):
            problems.append(f"eps is {self.eps}, must be >= 0")
        if not 0.5 < self.confidence < 1:
            problems.append(f"confidence is {self.confidence}, must lie between 0.5 and 1")
        if self.seed < 0:
            problems.append(f"seed is {self.seed}, must be >= 0")
        if problems:
            raise ValueError("RankingOptions: " + "; ".join(problems))

    def shares(self) -> dict[str, float]:
        """Weights of the measured components, summing to 1: the same for every backbone."""
        total = sum(self.weights.get(name, 0.0) for name in MEASURED)
        return {name: self.weights.get(name, 0.0) / total for name in MEASURED}
