"""Splits are disjoint, of the size asked for, stratified, seeded, and never leak into each other."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import TaskSpec
from trainables.data.source import Source
from trainables.data.split import SplitIndices, split_indices
from trainables.errors import DataError

Labels = npt.NDArray[np.int64]


def source_of(targets: npt.NDArray[Any], **fields: Any) -> Source:
    classes = range(int(targets.max(initial=0)) + 1 if targets.ndim == 1 else targets.shape[1])
    kind = fields.pop("kind", "classification")
    return Source(
        modality="text",
        kind=kind,
        key="key",
        names=tuple(f"row{i}" for i in range(len(targets))),
        targets=targets,
        class_names=tuple(f"class{c}" for c in classes),
        load=str,
        **fields,
    )


def split(
    spec: TaskSpec,
    targets: npt.NDArray[Any],
    parts: Labels | None = None,
    *,
    usable: npt.NDArray[np.bool_] | None = None,
    same: Labels | None = None,
    **fields: Any,
) -> SplitIndices:
    """`same` says which rows are equal; by default none are."""
    fingerprints = (np.arange(len(targets)) if same is None else same).astype(np.uint64)
    usable = np.ones(len(targets), dtype=np.bool_) if usable is None else usable
    return split_indices(spec, source_of(targets, given_split=parts, **fields), usable, fingerprints)


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
        train_frac=draw(st.sampled_from((1.0, 1.0, 0.5))),
        split_seed=draw(st.integers(0, 2**32 - 1)),
    )
    if not draw(st.booleans()):
        return spec, labels, None
    parts = draw(st.lists(st.sampled_from((0, 0, 1, 2)), min_size=len(labels), max_size=len(labels)))
    return spec, labels, np.array(parts, dtype=np.int64)


def split_or_refuse(spec: TaskSpec, labels: Labels, parts: Labels | None) -> SplitIndices | None:
    try:
        return split(spec, labels, parts)
    except DataError:
        return None


def each(splits: SplitIndices) -> dict[str, Labels]:
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def sizes(splits: SplitIndices) -> dict[str, int]:
    return {name: len(rows) for name, rows in each(splits).items()}


@settings(deadline=None, max_examples=200)
@given(problems())
def test_splits_are_disjoint_sorted_and_of_the_size_asked_for(problem: tuple[Any, ...]) -> None:
    spec, labels, parts = problem
    splits = split_or_refuse(spec, labels, parts)
    if splits is None:
        return
    rows = np.concatenate(list(each(splits).values()))
    assert len(np.unique(rows)) == len(rows) <= len(labels)
    for indices in each(splits).values():
        assert (np.diff(indices) > 0).all()
    for name in ("val", "test"):
        asked = getattr(spec, f"num_{name}")
        assert asked is None or sizes(splits)[name] == asked
    if spec.num_train is not None:
        pays = spec.num_val is None and (parts is None or not (parts == 1).any())
        kept = spec.num_train - (len(splits.val) if pays else 0)
        assert len(splits.train) == max(1, round(kept * spec.train_frac))


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


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=8),
    st.floats(0.05, 1.0),
    st.floats(0.05, 1.0),
    st.integers(0, 2**32 - 1),
)
def test_smaller_shares_of_the_training_samples_are_parts_of_larger_ones(
    counts: list[int], first: float, second: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), np.array(counts) + 4)
    few, many, everything = (
        split(TaskSpec(name="t", kind="regression", train_frac=frac, split_seed=seed), targets, kind="regression")
        for targets in [labels[:, None].astype(np.float32)]
        for frac in (min(first, second), max(first, second), 1.0)
    )
    assert set(few.train) <= set(many.train) <= set(everything.train)
    assert np.array_equal(few.val, many.val)
    assert np.array_equal(few.test, many.test)


@pytest.mark.parametrize("frac", [0.1, 0.33, 0.5, 0.9])
def test_a_share_of_the_training_samples_has_each_class_in_proportion_to_within_one(frac: float) -> None:
    labels = np.repeat(np.arange(12), [400, *[20] * 11])
    whole, part = (split(TaskSpec(name="t", train_frac=f), labels).train for f in (1.0, frac))
    for c in range(12):
        assert abs((labels[part] == c).sum() - len(part) / len(whole) * (labels[whole] == c).sum()) < 1


def test_the_same_rows_on_every_platform() -> None:
    """Published results name a seed; it must go on naming these rows."""
    splits = split(TaskSpec(name="t", num_train=800, num_val=200, split_seed=3), np.arange(1797) % 10)
    digest = hashlib.sha256(b"".join(rows.astype("<i8").tobytes() for rows in each(splits).values())).hexdigest()
    assert digest[:16] == "f75dee8d95f7508e"


def test_another_seed_splits_differently() -> None:
    labels = np.arange(200) % 4
    a = split(TaskSpec(name="t", split_seed=0), labels)
    b = split(TaskSpec(name="t", split_seed=1), labels)
    assert not np.array_equal(a.test, b.test)


class TestSizes:
    def test_by_default_a_fifth_is_test_and_a_fifth_of_the_rest_validation(self) -> None:
        splits = split(TaskSpec(name="t"), np.arange(1000) % 10)
        assert sizes(splits) == {"train": 640, "val": 160, "test": 200}

    def test_test_is_all_that_train_and_validation_leave(self) -> None:
        splits = split(TaskSpec(name="t", num_train=80, num_val=20), np.arange(500) % 5)
        assert sizes(splits) == {"train": 80, "val": 20, "test": 400}

    def test_a_budget_of_labels_pays_for_validation(self) -> None:
        splits = split(TaskSpec(name="t", num_train=1000), np.arange(3000) % 10)
        assert sizes(splits) == {"train": 800, "val": 200, "test": 2000}

    def test_a_given_validation_split_costs_the_budget_nothing(self) -> None:
        parts = np.repeat([0, 1, 2], [200, 50, 50])
        splits = split(TaskSpec(name="t", num_train=100), np.arange(300) % 5, parts)
        assert sizes(splits) == {"train": 100, "val": 50, "test": 50}

    def test_fewer_training_samples_leave_the_test_split_as_it_is(self) -> None:
        labels = np.arange(500) % 5
        many, few = (split(TaskSpec(name="t", num_train=n, num_val=80, num_test=100), labels) for n in (300, 50))
        assert np.array_equal(many.test, few.test)
        assert np.array_equal(many.val, few.val)

    def test_few_shots_are_the_same_number_of_every_class(self) -> None:
        labels = np.repeat([0, 1, 2], [300, 40, 20])
        splits = split(TaskSpec(name="t", few_shot=5), labels)
        assert np.bincount(labels[splits.train]).tolist() == [5, 5, 5]
        assert sizes(splits)["test"] == 72

    def test_unreadable_samples_are_in_no_split(self) -> None:
        usable = np.arange(500) % 7 != 0
        splits = split(TaskSpec(name="t"), np.arange(500) % 5, usable=usable)
        assert sum(sizes(splits).values()) == usable.sum()
        assert all(usable[rows].all() for rows in each(splits).values())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec(name="t", num_test=101), "num_test asks for 101 samples, 100 are left"),
        (
            TaskSpec(name="t", num_train=90, num_test=20),
            r"num_train asks for 90 samples \(72 to train on, 18 to validate\), 62 are left",
        ),
        (TaskSpec(name="t", num_train=90, num_test=20, num_val=10), "num_train asks for 90 samples, 70 are left"),
        (TaskSpec(name="t", num_train=100), "num_train and num_val take 100 of 100 samples and leave none to test on"),
        (
            TaskSpec(name="t", num_train=3, num_val=20),
            r"the train split of task 't' \(3 samples\) has no sample of 1 of 4 classes \(class\d\); ask for a larger",
        ),
        (TaskSpec(name="t", num_val=2), r"the val split of task 't' \(2 samples\) has no sample of 2 of 4"),
        (
            TaskSpec(name="t", few_shot=17),
            r"few_shot asks for 17 samples of each class; 4 of 4 classes have fewer left to train on: class0 \(16\)",
        ),
    ],
)
def test_what_cannot_be_split_says_why(spec: TaskSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(spec, np.arange(100) % 4)


def test_a_class_too_small_for_three_splits_is_named() -> None:
    labels = np.append(np.arange(100) % 4, [4, 4])
    with pytest.raises(DataError, match="class4 has fewer samples than there are splits: add some, or leave the class"):
        split(TaskSpec(name="t"), labels)


def test_one_class_is_no_classification() -> None:
    with pytest.raises(DataError, match="has 1 class"):
        split(TaskSpec(name="t"), np.zeros(100, dtype=np.int64))


def test_a_given_split_without_a_readable_sample_is_refused() -> None:
    parts = np.repeat([0, 2], [80, 20])
    with pytest.raises(DataError, match="the test split of task 't' has no sample that can be read"):
        split(TaskSpec(name="t"), np.arange(100) % 4, parts, usable=parts == 0)
