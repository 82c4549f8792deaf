"""Disjoint, stratified, seeded splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trainables.config import TaskSpec
from trainables.errors import DataError

__all__ = ["SplitIndices", "split_indices"]

Indices: TypeAlias = npt.NDArray[np.int64]

_HELD_OUT_FRAC = 0.2
"""Share of the samples that a held-out split takes where the task does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitIndices:
    """Row numbers of each split, sorted, disjoint."""

    train: Indices
    val: Indices
    test: Indices


def split_indices(spec: TaskSpec, labels: Indices, given: Indices | None = None) -> SplitIndices:
    """Split rows as `spec` asks.

    Each split holds every class in its own proportion, to within one sample.

    Args:
        spec: its `num_*` and `split_seed`.
        labels: class of each row, shape (n,).
        given: split each row came in (0 train, 1 val, 2 test), or None for a dataset without splits.
            A given test or validation split is never mixed with another one.

    Raises:
        DataError: more samples are asked for than there are, or a split would lack a class.
    """
    rng = np.random.default_rng(spec.split_seed)
    given = np.zeros_like(labels) if given is None else given
    pool, val, test = (np.flatnonzero(given == part) for part in (0, 1, 2))
    test, pool = _held_out(rng, labels, test, pool, _num_test(spec, len(pool), len(test)), "num_test")
    val, pool = _held_out(rng, labels, val, pool, _num_val(spec, len(pool), len(val)), "num_val")
    train = pool if spec.num_train is None else _take(rng, labels, pool, spec.num_train, "num_train")
    splits = SplitIndices(train=np.sort(train), val=np.sort(val), test=np.sort(test))
    _require_every_class(spec, labels, splits)
    return splits


def _num_test(spec: TaskSpec, num_pool: int, num_given: int) -> int:
    if spec.num_test is not None:
        return spec.num_test
    if num_given:
        return num_given
    if spec.num_train is not None and spec.num_val is not None:
        return num_pool - spec.num_train - spec.num_val
    return round(num_pool * _HELD_OUT_FRAC)


def _num_val(spec: TaskSpec, num_pool: int, num_given: int) -> int:
    if spec.num_val is not None:
        return spec.num_val
    return num_given or round(num_pool * _HELD_OUT_FRAC)


def _held_out(
    rng: np.random.Generator, labels: Indices, given: Indices, pool: Indices, num: int, key: str
) -> tuple[Indices, Indices]:
    """`num` rows of the given split, or, where none was given, of the pool; and the pool that is left."""
    if len(given):
        return _take(rng, labels, given, num, key), pool
    taken = _take(rng, labels, pool, num, key)
    return taken, np.setdiff1d(pool, taken)


def _take(rng: np.random.Generator, labels: Indices, rows: Indices, num: int, key: str) -> Indices:
    """`num` of `rows`, stratified by largest remainder."""
    if not 0 < num <= len(rows):
        raise DataError(f"{key} asks for {num} samples, {len(rows)} are left to take them from")
    classes, counts = np.unique(labels[rows], return_counts=True)
    exact = counts * (num / len(rows))
    share = np.floor(exact).astype(np.int64)
    remainder_first = np.argsort(-(exact - share), kind="stable")
    share[remainder_first[: num - share.sum()]] += 1
    return np.concatenate([rng.permutation(rows[labels[rows] == c])[:n] for c, n in zip(classes, share, strict=True)])


def _require_every_class(spec: TaskSpec, labels: Indices, splits: SplitIndices) -> None:
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError(f"task {spec.name!r} has {len(classes)} class; a classification needs at least 2")
    for name, rows in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        lacking = np.setdiff1d(classes, labels[rows])
        if len(lacking):
            raise DataError(
                f"the {name} split of task {spec.name!r} ({len(rows)} samples) has no sample of "
                f"{len(lacking)} of {len(classes)} classes; ask for a larger split"
            )
