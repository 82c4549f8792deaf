"""Groups and exact duplicates stay together; labels and ranges of numbers keep their proportions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import TaskSpec
from trainables.data.grouping import together
from trainables.data.source import Source
from trainables.data.split import SplitIndices, split_indices
from trainables.errors import DataError

Labels = npt.NDArray[np.int64]


def split(spec: TaskSpec, targets: npt.NDArray[Any], same: Labels | None = None, **fields: Any) -> SplitIndices:
    """`same` says which rows are equal; by default none are."""
    width = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    source = Source(
        modality="text",
        kind=spec.kind,
        key="key",
        names=tuple(f"row{i}" for i in range(len(targets))),
        targets=targets,
        class_names=tuple(f"class{c}" for c in range(width)),
        load=str,
        **fields,
    )
    fingerprints = (np.arange(len(targets)) if same is None else same).astype(np.uint64)
    return split_indices(spec, source, np.ones(len(targets), dtype=np.bool_), fingerprints)


def each(splits: SplitIndices) -> tuple[Labels, Labels, Labels]:
    return splits.train, splits.val, splits.test


class TestGroups:
    @settings(deadline=None, max_examples=150)
    @given(st.integers(12, 80), st.integers(0, 99), st.integers(0, 999), st.booleans())
    def test_none_is_parted(self, num_groups: int, data_seed: int, seed: int, some_equal: bool) -> None:
        rng = np.random.default_rng(data_seed)
        groups = rng.integers(0, num_groups, 400)
        labels = rng.integers(0, 3, 400)
        same = rng.integers(0, 300, 400) if some_equal else None
        bundles = together(groups, np.arange(400, dtype=np.uint64) if same is None else same.astype(np.uint64))
        spec = TaskSpec(name="t", split_seed=seed)
        try:
            splits = split(spec, labels, same, groups=groups)
        except DataError:
            assert len(np.unique(bundles)) < 12
            return
        found = [set(bundles[rows]) for rows in each(splits)]
        assert not found[0] & found[1]
        assert not found[0] & found[2]
        assert not found[1] & found[2]
        rows = np.concatenate(each(splits))
        assert len(np.unique(rows)) == len(rows) == 400

    def test_sizes_are_met_as_nearly_as_groups_allow_and_what_was_reached_is_said(self) -> None:
        groups = np.repeat(np.arange(6), 500)
        splits = split(TaskSpec(name="t"), np.tile(np.arange(10), 300), groups=groups)
        assert [len(rows) for rows in each(splits)] == [2000, 500, 500]
        assert splits.notes == ("test has 500 samples, 600 were asked for: groups and exact duplicates are kept whole",)

    def test_classes_keep_their_proportions(self) -> None:
        rng = np.random.default_rng(0)
        groups, labels = rng.integers(0, 300, 3000), rng.integers(0, 4, 3000)
        splits = split(TaskSpec(name="t"), labels, groups=groups)
        for rows in each(splits):
            share = np.bincount(labels[rows]) / len(rows)
            assert abs(share - np.bincount(labels) / 3000).max() < 0.03

    def test_a_class_in_few_groups_is_in_every_split(self) -> None:
        # One class to a patient, as in medical data.
        groups = np.repeat(np.arange(30), 20)
        for seed in range(10):
            splits = split(TaskSpec(name="t", split_seed=seed), groups % 10, groups=groups)
            assert [len(rows) for rows in each(splits)] == [200, 200, 200]

    def test_too_large_groups_are_refused(self) -> None:
        with pytest.raises(DataError, match="no group of task 't' is small enough for num_val 10"):
            split(TaskSpec(name="t"), np.arange(100) % 2, groups=np.arange(100) // 50)

    def test_a_missing_remainder_of_training_samples_is_said(self) -> None:
        groups = np.repeat(np.arange(50), 20)
        splits = split(TaskSpec(name="t", num_train=790, num_val=105, num_test=105), groups % 10, groups=groups)
        assert len(splits.train) < 790
        assert any(note.startswith("train has ") and "790 were asked for" in note for note in splits.notes)


class TestDuplicates:
    @settings(deadline=None, max_examples=100)
    @given(st.integers(1, 150), st.integers(0, 99), st.integers(0, 999))
    def test_made_splits_never_share_one_and_have_the_sizes_asked_for(
        self, num_equal: int, data_seed: int, seed: int
    ) -> None:
        rng = np.random.default_rng(data_seed)
        same = np.arange(600)
        same[rng.permutation(600)[:num_equal]] = rng.integers(0, 50, num_equal)
        splits = split(TaskSpec(name="t", split_seed=seed), rng.integers(0, 3, 600), same)
        found = [set(same[rows]) for rows in each(splits)]
        assert not found[0] & found[1]
        assert not (found[0] | found[1]) & found[2]
        assert [len(rows) for rows in each(splits)] == [384, 96, 120]

    def test_across_given_splits_they_are_counted_and_named(self) -> None:
        same, parts = np.arange(300), np.repeat([0, 1, 2], 100)
        same[200:205] = np.arange(5)
        splits = split(TaskSpec(name="t"), np.arange(300) % 5, same, given_split=parts)
        assert splits.notes == (
            "5 of 100 samples of test are exact duplicates of samples of train: row200, row201, row202, ...",
        )

    def test_within_a_given_split_they_are_nothing_to_say(self) -> None:
        same, parts = np.arange(300) // 4, np.repeat([0, 1, 2], 100)
        assert split(TaskSpec(name="t"), np.arange(300) // 4 % 3, same, given_split=parts).notes == ()

    def test_contradicting_ones_are_named(self) -> None:
        same, labels = np.arange(100), np.arange(100) % 2
        same[1], same[3] = 0, 2
        splits = split(TaskSpec(name="t"), labels, same)
        assert splits.notes == (
            "4 samples are exact duplicates that differ in what they are labelled: row0, row1, row2, ...",
        )

    def test_groups_across_given_splits_are_counted(self) -> None:
        parts, groups = np.repeat([0, 1, 2], 100), np.arange(300) % 150
        splits = split(TaskSpec(name="t"), np.arange(300) % 3, given_split=parts, groups=groups)
        assert "50 groups have samples in both train and val" in splits.notes

    def test_links_are_followed(self) -> None:
        groups, same = np.array([0, 0, 1, 1, 2]), np.array([5, 6, 6, 7, 8], dtype=np.uint64)
        assert together(groups, same).tolist() == [0, 0, 0, 0, 1]
        assert together(None, same).tolist() == [0, 1, 1, 2, 3]


class TestLabelSets:
    spec = TaskSpec(name="t", kind="multilabel")

    @settings(deadline=None, max_examples=50)
    @given(st.integers(0, 99), st.integers(0, 999), st.booleans())
    def test_labels_keep_their_proportions(self, data_seed: int, seed: int, grouped: bool) -> None:
        rng = np.random.default_rng(data_seed)
        marks = (rng.random((500, 6)) < [0.02, 0.05, 0.1, 0.2, 0.4, 0.6]).astype(np.float32)
        marks[:4, 0] = 1
        fields = {"groups": rng.integers(0, 400, 500)} if grouped else {}
        splits = split(TaskSpec(name="t", kind="multilabel", split_seed=seed), marks, **fields)
        if not grouped:
            assert [len(rows) for rows in each(splits)] == [320, 80, 100]
        assert (marks[splits.train].sum(axis=0) > 0).all()
        for rows in each(splits):
            assert abs(marks[rows].mean(axis=0) - marks.mean(axis=0)).max() < (0.2 if grouped else 0.08)
        everything = np.concatenate(each(splits))
        assert len(np.unique(everything)) == len(everything) == 500

    def test_a_label_that_training_lacks_is_named(self) -> None:
        marks = np.zeros((100, 2), dtype=np.float32)
        marks[:50, 0], marks[99, 1] = 1, 1
        parts = np.repeat([0, 1, 2], [60, 20, 20])
        with pytest.raises(DataError, match=r"has no sample of 1 of 2 labels \(class1\); ask for a larger split"):
            split(self.spec, marks, given_split=parts)

    def test_shares_of_the_training_samples_are_nested(self) -> None:
        marks = (np.random.default_rng(0).random((300, 4)) < 0.3).astype(np.float32)
        few, many = (split(TaskSpec(name="t", kind="multilabel", train_frac=frac), marks).train for frac in (0.2, 0.6))
        assert set(few) < set(many)
        assert abs(marks[few].mean(axis=0) - marks[many].mean(axis=0)).max() < 0.1


class TestNumbers:
    @pytest.mark.parametrize("width", [1, 3])
    def test_every_range_is_in_every_split(self, width: int) -> None:
        numbers = np.random.default_rng(0).lognormal(size=(1000, width)).astype(np.float32)
        splits = split(TaskSpec(name="t", kind="regression"), numbers)
        assert [len(rows) for rows in each(splits)] == [640, 160, 200]
        for rows in each(splits):
            for target in range(width):
                share = (numbers[rows, target] < np.quantile(numbers[:, target], 0.3)).mean()
                assert abs(share - 0.3) < (0.03 if width == 1 else 0.06)

    def test_few_samples_and_equal_numbers_are_split_all_the_same(self) -> None:
        splits = split(TaskSpec(name="t", kind="regression"), np.repeat([[1.0], [2.0]], 5, axis=0).astype(np.float32))
        assert [len(rows) for rows in each(splits)] == [6, 2, 2]
