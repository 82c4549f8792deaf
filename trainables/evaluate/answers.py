"""What a network answers to the same samples under different conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainables.data import Split
from trainables.evaluate.findings import Measure
from trainables.objective import Classification, MultiLabel, Objective

__all__ = ["Answers", "why_unmeasured"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """To some samples under one condition."""

    score: float
    """The task's main metric."""

    accuracy: float | None
    """None of a regression."""

    example_scores: npt.NDArray[np.float32]
    """As `Objective.example_scores`, shape (n,)."""

    given: npt.NDArray[np.int64] | None
    """Class of each sample, or yes (1) and no (0) to each label, shape (n,) or (n, labels); None of a regression,
    whose answers are never quite the same."""

    @classmethod
    def of(cls, objective: Objective, outputs: Tensor, targets: Tensor) -> Self:
        """Of outputs on the CPU."""
        quality = objective.quality(outputs, targets)
        return cls(
            score=quality.score(objective.metric),
            accuracy=quality.accuracy,
            example_scores=objective.example_scores(outputs, targets),
            given=_given(objective, outputs),
        )

    @property
    def right(self) -> float:
        """Accuracy; of a regression R²."""
        return self.score if self.accuracy is None else self.accuracy

    def flipped_from(self, other: Answers) -> float:
        """Share of samples with another answer, in [0, 1]; not a number of a regression."""
        if self.given is None or other.given is None:
            return float("nan")
        return float((self.given != other.given).reshape(len(self.given), -1).any(axis=1).mean())

    def measures(self, name: str, condition: str) -> Iterator[Measure]:
        """``<name>_score``, and ``<name>_accuracy`` where there is one."""
        yield Measure(name=f"{name}_score", value=self.score, condition=condition)
        if self.accuracy is not None:
            yield Measure(name=f"{name}_accuracy", value=self.accuracy, condition=condition)


def why_unmeasured(objective: Objective, split: Split) -> str | None:
    """Why the main metric is not defined on these samples, or None where it is."""
    if isinstance(objective, Classification):
        return None
    if isinstance(objective, MultiLabel):
        return None if bool(split.targets.any()) else f"none of the {len(split)} samples chosen has a label"
    varies = bool((split.targets != split.targets[0]).any(dim=0).all())
    return None if varies else f"a target is the same for all {len(split)} samples chosen"


def _given(objective: Objective, outputs: Tensor) -> npt.NDArray[np.int64] | None:
    if isinstance(objective, Classification):
        return outputs.argmax(dim=1).numpy()
    return (outputs > 0).numpy().astype(np.int64) if isinstance(objective, MultiLabel) else None
