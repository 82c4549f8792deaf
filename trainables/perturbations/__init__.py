"""Test samples damaged in fixed ways and at fixed severities, the same for every backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from torch import Tensor

from trainables.data import Split, Task
from trainables.data.samples import Samples
from trainables.perturbations.contract import SEVERITIES, Perturbation, generator
from trainables.perturbations.raw import Raw, raw
from trainables.preprocessing import State

__all__ = ["SEVERITIES", "Perturbation", "PerturbedSamples", "perturbed_splits"]

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True, slots=True)
class PerturbedSamples(Generic[S]):
    """Samples under one perturbation, each made when it is asked for.

    Of a sample everything is drawn by its row in the dataset: its batch, its split and the backbone change nothing.
    Batches are put together by the lengths of the clean samples, so that a sample meets the same ones in its batch
    whether they are perturbed or not.
    """

    raw: Raw[S]
    name: str
    severity: int
    clean: Samples

    @property
    def lengths(self) -> Tensor | None:
        return self.clean.lengths

    def batch(self, rows: Tensor) -> State:
        return self.raw.encoded([self._perturbed(row) for row in rows.tolist()])

    def __len__(self) -> int:
        return len(self.clean)

    def _perturbed(self, row: int) -> S:
        perturbation = self.raw.perturbations[self.name]
        return perturbation(self.raw.sample(row), self.severity, generator(self.name, row))


def perturbed_splits(task: Task, split: Split) -> Iterator[tuple[str, int, Split]]:
    """`split` under every perturbation of the modality and every severity, with the name and the severity.

    Args:
        split: a part of one of the task's.

    Raises:
        DataError: texts or sounds cannot be read any more, or are not what they were when the task was loaded.
    """
    samples = raw(task, split)
    for name in samples.perturbations:
        for severity in SEVERITIES:
            changed = PerturbedSamples(raw=samples, name=name, severity=severity, clean=split.samples)
            yield name, severity, replace(split, samples=changed)
