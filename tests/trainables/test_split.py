"""Splits are disjoint, of the size asked for, stratified, seeded, and never leak into each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import TaskSpec
from trainables.data.split import SplitIndices, split_indices
from trainables.errors import DataError

Labels = npt.NDArray[np.int64]


@st.composite
def problems(draw: st.DrawFn) -> tuple[TaskSpec, Labels, Labels | None]:
    counts = draw(st.lists(st.integers(1, 60), min_size=2, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(labels)
    size = st.none() | st.integers(1, len(labels))
    spec = TaskSpec(
        name="t",
        num_train=draw(size),
        num_val=draw(size),
        num_test=draw(size),
        split_seed=draw(st.integers(0, 2**32 - 1)),
    )
    if not draw(st.booleans()):
        return spec, labels, None
    parts = draw(st.lists(st.sampled_from((0, 0, 1, 2)), min_size=len(labels), max_size=len(labels)))
    return spec, labels, np.array(parts, dtype=np.int64)


def split_or_refuse(spec: TaskSpec, labels: Labels, parts: Labels | None) -> SplitIndices | None:
    try:
        return split_indices(spec, labels, parts)
    except DataError:
        return None


def each(splits: SplitIndices) -> dict[str, Labels]:
    return {"train": splits.train, "val": splits.val, "test": splits.test}


@settings(deadline=None, max_examples=200)
@given(problems())
def test_splits_are_disjoint_sorted_and_of_the_size_asked_for(problem: tuple[Any, ...]) -> None:
    spec, labels, parts = problem
    splits = split_or_refuse(spec, labels, parts)
    if splits is None:
        return
    rows = np.concatenate(list(each(splits).values()))
    assert len(np.unique(rows)) == len(rows) <= len(labels)
    for name, indices in each(splits).items():
        assert (np.diff(indices) > 0).all()
        asked = getattr(spec, f"num_{name}")
        assert asked is None or len(indices) == asked


@settings(deadline=None, max_examples=200)
@given(problems())
def test_every_class_is_in_every_split(problem: tuple[Any, ...]) -> None:
    spec, labels, parts = problem
    splits = split_or_refuse(spec, labels, parts)
    if splits is not None:
        for indices in each(splits).values():
            assert set(labels[indices]) == set(labels)


@settings(deadline=None, max_examples=200)
@given(problems())
def test_a_held_out_split_has_each_class_in_proportion_to_within_one(problem: tuple[Any, ...]) -> None:
    spec, labels, parts = problem
    splits = split_or_refuse(spec, labels, parts)
    if splits is None:
        return
    came_in = np.zeros_like(labels) if parts is None else parts
    pool = np.flatnonzero(came_in == (2 if (came_in == 2).any() else 0))
    share = len(splits.test) / len(pool)
    for c in np.unique(labels):
        assert abs((labels[splits.test] == c).sum() - share * (labels[pool] == c).sum()) < 1


@settings(deadline=None, max_examples=100)
@given(problems())
def test_given_splits_are_never_mixed(problem: tuple[Any, ...]) -> None:
    spec, labels, parts = problem
    splits = None if parts is None else split_or_refuse(spec, labels, parts)
    if splits is None:
        return
    assert (parts[splits.train] == 0).all()
    assert set(parts[splits.val]) == ({1} if (parts == 1).any() else {0})
    assert set(parts[splits.test]) == ({2} if (parts == 2).any() else {0})


@settings(deadline=None, max_examples=50)
@given(problems())
def test_the_seed_decides(problem: tuple[Any, ...]) -> None:
    spec, labels, parts = problem
    first = split_or_refuse(spec, labels, parts)
    np.random.default_rng(1).random(3)
    second = split_or_refuse(spec, labels, parts)
    if first is None or second is None:
        assert first is second
    else:
        assert all((a == b).all() for a, b in zip(each(first).values(), each(second).values(), strict=True))


def test_another_seed_splits_differently() -> None:
    labels = np.arange(200) % 4
    a = split_indices(TaskSpec(name="t", split_seed=0), labels)
    b = split_indices(TaskSpec(name="t", split_seed=1), labels)
    assert not np.array_equal(a.test, b.test)


def test_by_default_a_fifth_is_test_and_a_fifth_of_the_rest_validation() -> None:
    splits = split_indices(TaskSpec(name="t"), np.arange(1000) % 10)
    assert {name: len(rows) for name, rows in each(splits).items()} == {"train": 640, "val": 160, "test": 200}


def test_test_is_all_that_train_and_validation_leave() -> None:
    splits = split_indices(TaskSpec(name="t", num_train=80, num_val=20), np.arange(500) % 5)
    assert {name: len(rows) for name, rows in each(splits).items()} == {"train": 80, "val": 20, "test": 400}


def test_fewer_training_samples_leave_the_test_split_as_it_is() -> None:
    labels = np.arange(500) % 5
    many, few = (split_indices(TaskSpec(name="t", num_train=n), labels) for n in (300, 50))
    assert np.array_equal(many.test, few.test)
    assert np.array_equal(many.val, few.val)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec(name="t", num_test=101), "num_test asks for 101 samples, 100 are left"),
        (TaskSpec(name="t", num_train=90, num_test=20), "num_train asks for 90 samples, 64 are left"),
        (
            TaskSpec(name="t", num_train=3),
            r"the train split of task 't' \(3 samples\) has no sample of 1 of 4",
        ),
        (TaskSpec(name="t", num_val=2), r"the val split of task 't' \(2 samples\) has no sample of 2 of 4"),
    ],
)
def test_what_cannot_be_split_says_why(spec: TaskSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_indices(spec, np.arange(100) % 4)


def test_one_class_is_no_classification() -> None:
    with pytest.raises(DataError, match="has 1 class"):
        split_indices(TaskSpec(name="t"), np.zeros(100, dtype=np.int64))
