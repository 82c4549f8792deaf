"""The scale that response surfaces live on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FLOOR", "Bent", "LogError", "lowest"]

Array = npt.NDArray[np.float64]

FLOOR = -0.2  # least score that counts, with chance at 0 and perfect at 1: below chance is below chance

_KNEE = 0.02  # on the `LogError` scale, two points at 0.85


class LogError:
    """The scale the surface lives on: t(y) = -0.2 log(1.05 - y), about the logarithm of the error.

    On it, halving the error is the same step for a study stuck at 0.55 as for one at 0.90, so a study that
    has only seen poor configurations knows that a good one may be far above them; and a diverged run says
    "bad here" without bending the rest. The slope is 1 at 0.85, where the prior's units are those of the
    score, and 4 at a perfect score.
    """

    scale = 0.2
    margin = 0.05

    @classmethod
    def apply(cls, scores: Array) -> Array:
        """From the metric's unit, at most 1."""
        return np.asarray(-cls.scale * np.log1p(cls.margin - scores), dtype=np.float64)

    @classmethod
    def invert(cls, values: Array, low: float = 0.0) -> Array:
        """Back to the metric's unit, clipped to [low, 1]: no score is outside it, whatever a draw says."""
        growth = np.expm1(np.minimum(-values / cls.scale, 1.0))  # beyond e - 1 the score is below `low` anyway
        return np.asarray(np.clip(cls.margin - growth, low, 1.0), dtype=np.float64)

    @classmethod
    def slope(cls, score: float) -> float:
        """Units of the scale per unit of score, at `score`."""
        return cls.scale / (1.0 + cls.margin - score)


@dataclass(frozen=True, slots=True)
class Bent:
    """The `LogError` scale, on which what lies below `top` is drawn together: b(t) = top - k log(1 + (top - t) / k).

    A diverged run lies tens of points below a good one, and no smooth surface falls like that. On an even scale one
    such step makes the surface rough everywhere, so that whatever was not tried could be far better than what was.
    Near `top` and above it nothing changes; two points below a step counts half.
    """

    top: float  # on the `LogError` scale

    @classmethod
    def of(cls, scores: Array) -> Bent:
        """For a study with these scores, at least one: its best quarter stays as it is."""
        values = np.sort(LogError.apply(scores))
        return cls(float(values[-max(len(values) // 4, 1)]))

    def apply(self, scores: Array) -> Array:
        """From the metric's unit, at most 1."""
        values = LogError.apply(scores)
        below = np.maximum(self.top - values, 0.0)
        return np.asarray(values + below - _KNEE * np.log1p(below / _KNEE), dtype=np.float64)

    def invert(self, values: Array, low: float = 0.0) -> Array:
        """Back to the metric's unit, clipped to [low, 1]."""
        below = np.minimum(np.maximum(self.top - values, 0.0) / _KNEE, 10.0)  # e^10 knees: far below any score
        return LogError.invert(np.maximum(values, self.top) - _KNEE * np.expm1(below), low)

    @property
    def slope(self) -> float:
        """Units of the scale per unit of score, at `top`."""
        return LogError.slope(float(LogError.invert(np.array(self.top))))


def lowest(metric: str | None) -> float:
    """The least value of a metric that counts: 0, or FLOOR for R2, which has no least value of its own."""
    return FLOOR if metric == "r2" else 0.0
