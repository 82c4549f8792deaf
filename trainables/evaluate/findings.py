"""What an evaluation found, as values that travel."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Findings", "Measure", "Picture", "SplitName"]

SplitName = Literal["train", "val", "test"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One number. Not finite where it is not defined: the reader is told so instead of finding it missing."""

    name: str
    """What it is, in snake case with its unit at the end: ``ece``, ``perturbed_accuracy``, ``latency_s``."""

    value: float
    split: SplitName = "test"
    condition: str = ""
    """What it was measured under, where there are several: ``gaussian_noise:3``, ``class:tulip``, ``block:4``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure for people."""

    name: str
    """File name without suffix, unique within one evaluation."""

    caption: str
    """What it shows, in a sentence: also its alternative text."""

    png: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Of one or of several evaluators; `+` joins them."""

    measures: tuple[Measure, ...] = ()
    pictures: tuple[Picture, ...] = ()

    perturbed_score: float | None = None
    """Mean over all perturbations and severities of the task's main metric on perturbed test samples."""

    perturbed_example_scores: npt.NDArray[np.float32] | None = None
    """Of each perturbed test sample, the mean over perturbations of its `Objective.example_scores`: shape
    (num_perturbed,), the same samples in the same order for every backbone."""

    confusion: npt.NDArray[np.int64] | None = None
    """Test samples by true class and answer, shape (num_classes, num_classes); None where there are no classes."""

    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            measures=self.measures + other.measures,
            pictures=self.pictures + other.pictures,
            perturbed_score=_either(self.perturbed_score, other.perturbed_score),
            perturbed_example_scores=_either(self.perturbed_example_scores, other.perturbed_example_scores),
            confusion=_either(self.confusion, other.confusion),
            notes=self.notes + other.notes,
        )

    @staticmethod
    def joined(parts: Iterable[Findings]) -> Findings:
        """All of them in one, in their order."""
        return functools.reduce(operator.add, parts, Findings())


def _either(one: T | None, other: T | None) -> T | None:
    return other if one is None else one
