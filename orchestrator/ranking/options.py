"""What a caller may set about a ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["COMPONENTS", "DEFAULT_WEIGHTS", "PRESETS", "Planned", "RaceEnd", "RankingOptions"]

COMPONENTS = ("quality", "ease", "data_efficiency", "robustness")


def _weights(*values: float) -> Mapping[str, float]:
    return MappingProxyType(dict(zip(COMPONENTS, values, strict=True)))


PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "default": _weights(0.60, 0.20, 0.10, 0.10),
        "accuracy_only": _weights(1.0, 0.0, 0.0, 0.0),
        "few_trials": _weights(0.40, 0.50, 0.0, 0.10),
        "few_labels": _weights(0.40, 0.10, 0.40, 0.10),
    }
)
"""Weights by the use that they stand for: the share of it under full tuning, few trials, few labels and
perturbed inputs."""

DEFAULT_WEIGHTS = PRESETS["default"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RaceEnd:
    """How the race of one task ended: what a ranking must know to compare only what was measured alike."""

    dropped: Mapping[str, str]
    """Backbone -> when and why it was dropped, in words."""

    sentence: str
    """The end in words, with the trials it took of those there were."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """How many runs a study was to have: what a ranking must know to say how far it came."""

    trials: int | None
    """None where a race decides."""
    confirmations: int
    reduced: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingOptions:
    """Options of `rank`. All scores are fractions.

    Raises ValueError, naming every offending value, when one is out of range.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    """Component -> weight, >= 0, one of PRESETS or others. What is left out weighs nothing. The weight of a
    component that was not measured for every ranked backbone of a task is spread over the rest, for all alike."""

    eps: float = 0.005
    """Practical margin: a difference below it is no difference to a user. Fraction of score, >= 0."""

    confidence: float = 0.95
    """Level of the score intervals, the simultaneous pair intervals and the rank intervals, in (0.5, 1)."""

    seed: int = 0
    """Seed of all Monte-Carlo draws, >= 0. Two calls with equal tables and options agree to the bit, where BLAS has
    as many threads."""

    def __post_init__(self) -> None:
        problems = [f"unknown weight {name!r}" for name in sorted(set(self.weights) - set(COMPONENTS))]
        problems += [
            f"weight {name!r} is {weight}, must be finite and >= 0"
            for name, weight in self.weights.items()
            if not (math.isfinite(weight) and weight >= 0)
        ]
        if not problems and not sum(self.weights.values()) > 0:
            problems.append(f"no weight above 0; one of {', '.join(COMPONENTS)} needs one")
        if not (math.isfinite(self.eps) and self.eps >= 0):
            problems.append(f"eps is {self.eps}, must be >= 0")
        if not 0.5 < self.confidence < 1:
            problems.append(f"confidence is {self.confidence}, must lie between 0.5 and 1")
        if self.seed < 0:
            problems.append(f"seed is {self.seed}, must be >= 0")
        if problems:
            raise ValueError("RankingOptions: " + "; ".join(problems))

    def shares(self, measured: Sequence[str]) -> dict[str, float]:
        """Weights of all COMPONENTS, 0 for what was not measured, summing to 1: the same for every backbone.

        When nothing that was measured has a weight, quality takes it all: it is always measured.
        """
        kept = {name: self.weights.get(name, 0.0) if name in measured else 0.0 for name in COMPONENTS}
        if not any(kept.values()):
            kept["quality"] = 1.0
        total = sum(kept.values())
        return {name: weight / total for name, weight in kept.items()}
