"""What the test split says of a trained run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainables.objective import Objective, Quality

__all__ = ["TestMeasurement"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TestMeasurement:
    """What the test split says of the best epoch's weights. It measures; it never chooses."""

    __test__ = False  # not a test class, whatever pytest reads into the name

    quality: Quality
    example_scores: npt.NDArray[np.float32]
    """Of each test sample, shape (n,): 1 answered correctly or 0; of a regression, its part of R²."""

    @classmethod
    def of(cls, objective: Objective, outputs: Tensor, targets: Tensor) -> Self:
        """Of outputs on the CPU."""
        return cls(
            quality=objective.quality(outputs, targets), example_scores=objective.example_scores(outputs, targets)
        )

    @property
    def num_test(self) -> int:
        return len(self.example_scores)
