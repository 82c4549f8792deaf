"""A task ready to train on: encoded splits and how its score is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from trainables.config import TaskSpec
from trainables.data.encode import encode, notes
from trainables.data.samples import Samples
from trainables.data.source import open_source
from trainables.data.split import split_indices
from trainables.data.strata import nested_with_all, strata_of
from trainables.objective import Objective, make_objective
from trainables.preprocessing import Preprocessing, State

__all__ = ["Split", "Task", "load_task"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Rows of the encoded samples with their targets."""

    samples: Samples
    """Of the whole dataset, shared by its splits."""

    rows: Tensor
    """Which of `samples` belong to this split: int64, shape (n,)."""

    targets: Tensor
    """As `Objective` takes them, shape (n, ...)."""

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Tensor) -> tuple[State, Tensor]:
        """Samples and targets at `positions` of this split."""
        return self.samples.batch(self.rows[positions]), self.targets[positions]

    def at(self, positions: Tensor) -> Self:
        """The samples at `positions` of this split, in that order, as a split."""
        return replace(self, rows=self.rows[positions], targets=self.targets[positions])

    @property
    def lengths(self) -> Tensor | None:
        """Tokens or frames of each sample of this split, int64 (n,); None where all have one size."""
        lengths = self.samples.lengths
        return None if lengths is None else lengths[self.rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Splits, encoded as one checkpoint wants them."""

    spec: TaskSpec
    preprocessing: Preprocessing
    train: Split
    val: Split
    test: Split
    objective: Objective
    class_names: tuple[str, ...]
    """Of the classes, the labels, or the regression targets."""

    digest: str
    """sha256 of the encoded samples."""

    notes: tuple[str, ...] = ()
    """What a person should know of the data: samples skipped, samples cut, duplicates across splits."""

    def reduced(self, train_frac: float) -> Self:
        """The task with fewer training samples and everything else as it is.

        What a smaller share holds, every larger one holds as well, in every process. Each class or label
        keeps its proportion, and at least one sample, so that a very small share may have a few more.

        Args:
            train_frac: share of the training samples, in (0, 1].

        Raises:
            ValueError: `train_frac` is outside its range.
        """
        if not 0 < train_frac <= 1:
            raise ValueError(f"train_frac must be in (0, 1], got {train_frac}")
        if train_frac == 1:
            return self
        train = self.train
        strata = strata_of(self.spec.kind, train.targets.numpy())
        # A generator of its own: no two shares of a split depend on anything but the split.
        rng = np.random.default_rng([self.spec.split_seed, 2])
        kept = nested_with_all(rng, strata, np.arange(len(train)), max(1, round(train_frac * len(train))))
        return replace(self, train=train.at(torch.from_numpy(np.sort(kept))))


def load_task(spec: TaskSpec, preprocessing: Preprocessing) -> Task:
    """Open, encode (once per machine) and split a task.

    Raises:
        DataError: the data cannot be read or split as asked.
        InvalidConfig: the backbone takes another modality than the data are of.
    """
    source = open_source(spec)
    encoded = encode(source, spec, preprocessing)
    split = split_indices(spec, source, encoded.usable, encoded.fingerprints)
    targets = torch.from_numpy(source.targets)
    train, val, test = (
        Split(samples=encoded.samples, rows=index, targets=targets[index])
        for index in map(torch.from_numpy, (split.train, split.val, split.test))
    )
    return Task(
        spec=spec,
        preprocessing=preprocessing,
        train=train,
        val=val,
        test=test,
        objective=make_objective(source.kind, len(source.class_names), train.targets, test.targets),
        class_names=source.class_names,
        digest=encoded.digest,
        notes=(*notes(source, encoded), *split.notes),
    )
