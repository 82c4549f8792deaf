"""A task ready to train on: decoded splits and how its score is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from trainables.backbones import Preprocessing
from trainables.config import TaskSpec
from trainables.data.source import open_source
from trainables.data.split import split_indices
from trainables.data.store import decoded

__all__ = ["Metric", "Split", "Task", "load_task"]

Metric = Literal["accuracy", "f1_macro"]

BALANCED_UP_TO: Final = 1.5
"""Largest over smallest test class up to which accuracy is the main metric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Rows of the decoded images with their labels."""

    images: Tensor
    """Of the whole dataset, shared by its splits and mapped from the file: uint8, shape (n_all, 3, side,
    side)."""

    rows: Tensor
    """Which of `images` belong to this split: int64, shape (n,)."""

    labels: Tensor
    """int64, shape (n,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels at `positions` of this split, copied out of the mapping."""
        return self.images[self.rows[positions]], self.labels[positions]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Splits, preprocessed as one checkpoint wants them."""

    spec: TaskSpec
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    metric: Metric
    """Fixed before any training: accuracy, or macro F1 where the largest test class has more than 1.5
    times the samples of the smallest."""

    chance: float
    """The metric's value on test for always answering the most frequent class, in [0, 1]."""

    digest: str
    """sha256 of the decoded pixels."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def load_task(spec: TaskSpec, preprocessing: Preprocessing) -> Task:
    """Open, decode (once per machine) and split a task.

    Raises:
        DataError: the data cannot be read or split as asked.
    """
    source = open_source(spec.data)
    side = spec.image_size or preprocessing.input_size
    images, digest = decoded(source, side, preprocessing.crop_frac, preprocessing.interpolation)
    rows = split_indices(spec, source.labels, source.given_split)
    labels = torch.from_numpy(source.labels)
    train, val, test = (
        Split(images=images, rows=index, labels=labels[index])
        for index in map(torch.from_numpy, (rows.train, rows.val, rows.test))
    )
    metric, chance = main_metric(test.labels, len(source.class_names))
    return Task(
        spec=spec,
        train=train,
        val=val,
        test=test,
        class_names=source.class_names,
        metric=metric,
        chance=chance,
        digest=digest,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )


def main_metric(labels: Tensor, num_classes: int) -> tuple[Metric, float]:
    """The main metric for these test labels, and its value for the constant majority answer."""
    counts = torch.bincount(labels, minlength=num_classes)
    majority = float(counts.max() / counts.sum())
    if counts.max() <= BALANCED_UP_TO * counts.min():
        return "accuracy", majority
    # One class has precision `majority` and recall 1, all others score 0.
    return "f1_macro", 2 * majority / (1 + majority) / num_classes
