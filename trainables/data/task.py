"""A task ready to train on: encoded splits and how its score is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.config import TaskSpec
from trainables.data.samples import Encoded, Pixels, Samples
from trainables.data.source import Source, open_source
from trainables.data.split import split_indices
from trainables.data.store import decoded
from trainables.errors import InvalidConfig
from trainables.objective import Objective, make_objective
from trainables.preprocessing import ImagePreprocessing, Preprocessing, State

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
    """What a person should know of the data: samples skipped, duplicates across splits."""


def load_task(spec: TaskSpec, preprocessing: Preprocessing) -> Task:
    """Open, encode (once per machine) and split a task.

    Raises:
        DataError: the data cannot be read or split as asked.
        InvalidConfig: the backbone takes another modality than the data are of.
    """
    source = open_source(spec)
    encoded = _encode(source, spec, preprocessing)
    rows = split_indices(spec, source.targets, source.given_split)
    targets = torch.from_numpy(source.targets)
    train, val, test = (
        Split(samples=encoded.samples, rows=index, targets=targets[index])
        for index in map(torch.from_numpy, (rows.train, rows.val, rows.test))
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
    )


def _encode(source: Source, spec: TaskSpec, preprocessing: Preprocessing) -> Encoded:
    if source.modality != preprocessing.modality or not isinstance(preprocessing, ImagePreprocessing):
        raise InvalidConfig(
            f"task {spec.name!r} is of {source.modality} data, the backbone takes {preprocessing.modality}; "
            "rank backbones of one modality per sweep"
        )
    side = spec.image_size or preprocessing.input_size
    images, digest = decoded(source, side, preprocessing.crop_frac, preprocessing.interpolation)
    return Encoded(samples=Pixels(images), digest=digest, fingerprints=np.arange(len(images), dtype=np.uint64))
