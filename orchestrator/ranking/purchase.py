"""What would have to be bought to tell two backbones apart: test examples, confirmations or trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Bought", "Prices", "Variances", "price"]

_MOST = {"num_test": 10_000_000, "num_seeds": 1_000, "num_trials": 10_000}  # beyond this it is no advice
_MOST_TIMES = 1_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Variances:
    """The parts of a difference's variance (or of a score's), in score units squared."""

    seeds: float
    examples: float
    tuning: float

    @property
    def total(self) -> float:
        return self.seeds + self.examples + self.tuning


@dataclass(frozen=True, kw_only=True, slots=True)
class Bought:
    """What these variances were bought with."""

    num_test: int
    num_seeds: int
    """Confirmations of each."""
    num_trials: int
    """Search trials of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Each alone, all else as it is; None where it does not suffice, or nothing has to be bought."""

    num_test: int | None = None
    num_seeds: int | None = None
    num_trials: int | None = None
    times: float | None = None
    """How many times all three together, where none suffices alone."""


def price(difference: float, parts: Variances, critical: float, bought: Bought) -> Prices:
    """What would bring |difference| to `critical` standard errors, if it is real.

    The test set's part of the variance falls as 1 / num_test and that of the seeds as 1 / num_seeds. Unfinished
    tuning falls as 1 / num_trials^2: doubling the trials halves what is left to find (0.29 to 0.16 points from
    24 to 48 trials on simulated surfaces), so this number is a rough one.
    """
    if critical <= 0 or difference == 0 or difference**2 > critical**2 * parts.total:
        return Prices()
    allowed = (difference / critical) ** 2

    def alone(name: str, part: float, power: float) -> int | None:
        room = allowed - (parts.total - part)
        if room <= 0:
            return None
        needed = math.ceil(getattr(bought, name) * (part / room) ** power)
        return needed if needed <= _MOST[name] else None

    prices = Prices(
        num_test=alone("num_test", parts.examples, 1.0),
        num_seeds=alone("num_seeds", parts.seeds, 1.0),
        num_trials=alone("num_trials", parts.tuning, 0.5),
    )
    if prices != Prices():
        return prices
    # allowed k^2 - (seeds + examples) k - tuning = 0
    linear = parts.seeds + parts.examples
    times = (linear + math.sqrt(linear**2 + 4 * allowed * parts.tuning)) / (2 * allowed)
    return Prices(times=times if times <= _MOST_TIMES else None)
