"""Disjoint, stratified, seeded splits that no group and no exact duplicate is parted between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from trainables.config import TaskSpec
from trainables.data.duplicates import copies, said_of_duplicates
from trainables.data.grouping import draw_whole, together
from trainables.data.source import Source
from trainables.data.sources.contract import PARTS
from trainables.data.strata import Indices, draw, nested, strata_of
from trainables.errors import DataError

__all__ = ["SplitIndices", "split_indices"]

_HELD_OUT_FRAC: Final = 0.2
"""Share of the samples that a held-out split takes where the task does not say."""

_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitIndices:
    """Row numbers of each split, sorted, disjoint."""

    train: Indices
    val: Indices
    test: Indices
    notes: tuple[str, ...] = ()
    """What a person should know: how the data were read, duplicates, sizes that groups did not allow."""


def split_indices(
    spec: TaskSpec, source: Source, usable: npt.NDArray[np.bool_], fingerprints: npt.NDArray[np.uint64]
) -> SplitIndices:
    """Split rows as `spec` asks.

    Each split holds every class in its own proportion, to within one sample; of a multi-label task every
    label, of a regression every range of the target, nearly so. Given splits are never mixed. A split made
    here parts no group and no exact duplicates, so that its size may differ by a few samples.

    Args:
        spec: its `num_*`, `few_shot`, `train_frac` and `split_seed`.
        source: its targets, given splits and groups.
        usable: which samples could be read, shape (n,); the others are in no split.
        fingerprints: equal for exact duplicates, shape (n,).

    Raises:
        DataError: more samples are asked for than there are, or a split would lack a class.
    """
    maker = _Maker(spec, source, usable, fingerprints)
    test = maker.held_out(2, maker.num_test(), "num_test")
    val = maker.held_out(1, maker.num_val(), "num_val")
    train = maker.train()
    parts = (train, val, test)
    _require_every_class(spec, source, usable, parts)
    notes = (*source.notes, *maker.notes, *said_of_duplicates(source, fingerprints, parts))
    return SplitIndices(train=np.sort(train), val=np.sort(val), test=np.sort(test), notes=notes)


class _Maker:
    """Takes test, then validation, then training samples out of what is given.

    Attributes:
        notes: which sizes were not met.
    """

    def __init__(
        self, spec: TaskSpec, source: Source, usable: npt.NDArray[np.bool_], fingerprints: npt.NDArray[np.uint64]
    ) -> None:
        self._spec = spec
        self._source = source
        self._rng = np.random.default_rng(spec.split_seed)
        self._strata = strata_of(source.kind, source.targets)
        given = np.zeros(len(usable), dtype=np.int64) if source.given_split is None else source.given_split
        self._pool, self._val, self._test = (np.flatnonzero((given == part) & usable) for part in (0, 1, 2))
        for part, rows in ((0, self._pool), (1, self._val), (2, self._test)):
            if not len(rows) and (part == 0 or (given == part).any()):
                raise DataError(f"the {PARTS[part]} split of task {spec.name!r} has no sample that can be read")
            if part and len(rows) and len(copies(fingerprints, self._pool, rows)) == len(rows):
                raise DataError(
                    f"all {len(rows):,} samples of the {PARTS[part]} split of task {spec.name!r} are exact duplicates "
                    "of samples to train on; give it others, or leave it out, and it is split off from the rest"
                )
        self._num_pool = len(self._pool)
        groups = None if source.groups is None else source.groups[self._pool]
        self._bundles = np.full(len(usable), -1, dtype=np.int64)
        self._bundles[self._pool] = together(groups, fingerprints[self._pool])
        self._num_asked = 0
        self.notes: list[str] = []

    def num_test(self) -> int:
        if self._spec.num_test is not None:
            return self._spec.num_test
        if len(self._test):
            return len(self._test)
        if self._spec.num_train is None:
            return round(self._num_pool * _HELD_OUT_FRAC)
        paid = self._spec.num_train + (0 if self._pays_for_val or len(self._val) else self.num_val())
        if paid >= self._num_pool:
            raise DataError(
                f"num_train and num_val take {paid} of {self._num_pool} samples and leave none to test on; ask for "
                "fewer, or set test_data"
            )
        return self._num_pool - paid

    def num_val(self) -> int:
        if self._spec.num_val is not None:
            return self._spec.num_val
        if len(self._val):
            return len(self._val)
        return round((self._spec.num_train or len(self._pool)) * _HELD_OUT_FRAC)

    @property
    def _pays_for_val(self) -> bool:
        """Whether validation comes out of `num_train`."""
        return self._spec.num_train is not None and self._spec.num_val is None and not len(self._val)

    def held_out(self, part: int, num: int, key: str) -> Indices:
        """`num` rows of the given split, or, where none was given, of the pool, which then lacks them."""
        given = self._test if part == 2 else self._val
        rows = given if len(given) else self._pool
        if not 0 < num <= len(rows):
            raise DataError(f"{key} asks for {num} samples, {len(rows)} are left to take them from")
        if len(given):
            return draw(self._rng, self._strata, given, num)
        taken = self._draw_from_pool(num)
        if len(taken) != num:
            said = f"{PARTS[part]} has {len(taken):,} samples, {num:,} were asked for"
            if not len(taken):
                raise DataError(f"no group of task {self._spec.name!r} is small enough for {key} {num}: {said}")
            self.notes.append(f"{said}: groups and exact duplicates are kept whole")
        self._num_asked += num
        is_taken = np.zeros(len(self._bundles), dtype=np.bool_)
        is_taken[taken] = True
        self._pool = self._pool[~is_taken[self._pool]]
        return taken

    def _draw_from_pool(self, num: int) -> Indices:
        if np.bincount(self._bundles[self._pool]).max() == 1:
            return draw(self._rng, self._strata, self._pool, num)
        return draw_whole(self._rng, self._strata, self._pool, self._bundles, num)

    def train(self) -> Indices:
        """Out of what the others left. Rows of one group may be used in part here: the rest is in no split."""
        rows = self._pool
        if self._spec.few_shot is not None:
            rows = self._few_shot(self._spec.few_shot)
        elif self._spec.num_train is not None:
            rows = self._some(self._spec.num_train)
        if not len(rows):
            raise DataError(f"the train split of task {self._spec.name!r} has no sample; ask for less val and test")
        if self._spec.train_frac < 1:
            # A generator of its own, and the same rows to choose from: what makes equal seeds give nested sets.
            rng = np.random.default_rng([self._spec.split_seed, 1])
            rows = nested(rng, self._strata, np.sort(rows), max(1, round(self._spec.train_frac * len(rows))))
        return rows

    def _some(self, asked: int) -> Indices:
        num = asked - (self.num_val() if self._pays_for_val else 0)
        have = len(self._pool)
        if num > have and num + self._num_asked <= self._num_pool:
            # What whole groups took from the others more than they were asked for is missing here.
            self.notes.append(f"train has {have:,} samples, {num:,} were asked for: groups are kept whole")
            return self._pool
        if not 0 < num <= have:
            paid = f" ({num} to train on, {asked - num} to validate)" if num != asked else ""
            raise DataError(f"num_train asks for {asked} samples{paid}, {have} are left to take them from")
        return draw(self._rng, self._strata, self._pool, num)

    def _few_shot(self, num: int) -> Indices:
        labels = self._source.targets[self._pool]
        names = self._source.class_names
        counts = np.bincount(labels, minlength=len(names))
        few = [f"{names[c]} ({counts[c]})" for c in np.unique(self._source.targets) if counts[c] < num]
        if few:
            raise DataError(
                f"few_shot asks for {num} samples of each class; {len(few)} of {len(names)} classes have fewer left to "
                f"train on: {_some_of(few)}"
            )
        return np.concatenate([self._rng.permutation(self._pool[labels == c])[:num] for c in np.unique(labels)])


def _require_every_class(
    spec: TaskSpec, source: Source, usable: npt.NDArray[np.bool_], parts: tuple[Indices, Indices, Indices]
) -> None:
    if source.kind == "regression":
        return
    noun, plural = ("class", "classes") if source.kind == "classification" else ("label", "labels")
    classes = np.flatnonzero(_counts(source, np.arange(len(usable))))
    if source.kind == "classification" and len(classes) < 2:
        raise DataError(f"task {spec.name!r} has {len(classes)} class; a classification needs at least 2")
    readable = _counts(source, np.flatnonzero(usable))
    # A label may be missing in a split that measures; it is left out of the mean there.
    checked = parts if source.kind == "classification" else parts[:1]
    for name, rows in zip(PARTS, checked, strict=False):
        lacking = classes[_counts(source, rows)[classes] == 0]
        if not len(lacking):
            continue
        few = [source.class_names[c] for c in lacking if readable[c] < len(checked)]
        fix = "ask for a larger split"
        if few:
            fix = f"{_some_of(few)} has fewer samples than there are splits: add some, or leave the {noun} out"
        raise DataError(
            f"the {name} split of task {spec.name!r} ({len(rows)} samples) has no sample of {len(lacking)} of "
            f"{len(classes)} {plural} ({_some_of([source.class_names[c] for c in lacking])}); {fix}"
        )


def _counts(source: Source, rows: Indices) -> Indices:
    """How many of `rows` each class or label has."""
    if source.kind == "classification":
        return np.bincount(source.targets[rows], minlength=len(source.class_names))
    return np.asarray((source.targets[rows] > 0).sum(axis=0))


def _some_of(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
