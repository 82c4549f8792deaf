"""A task with fewer training samples: nested, stratified, and nothing else changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data import Task
from trainables.data.strata import nested_with_all, strata_of


def kept(task: Task, frac: float) -> set[int]:
    return set(task.reduced(frac).train.rows.tolist())


def test_nothing_but_the_training_samples_changes(digits: Task) -> None:
    few = digits.reduced(0.5)
    # 10 classes of 3 or 4 samples: a half is 16, or 17 by rounding to even.
    assert len(few.train) == round(0.5 * len(digits.train)) == 16
    positions = [digits.train.rows.tolist().index(row) for row in few.train.rows.tolist()]
    assert (few.train.targets == digits.train.targets[positions]).all()
    assert positions == sorted(positions)
    assert (few.val, few.test, few.objective, few.digest) == (digits.val, digits.test, digits.objective, digits.digest)
    assert digits.reduced(1.0) is digits
    assert kept(digits, 0.5) == kept(digits, 0.5), "in every process alike"


def test_smaller_shares_are_parts_of_larger_ones_and_keep_every_class(digits: Task) -> None:
    shares = (0.01, 0.35, 0.5, 0.8, 1.0)
    for fewer, more in itertools.pairwise(shares):
        assert kept(digits, fewer) < kept(digits, more)
        assert set(digits.reduced(fewer).train.targets.tolist()) == set(range(10))
    assert len(digits.reduced(0.01).train) == 10, "one of each class, though a hundredth is less than one"


@pytest.mark.parametrize("frac", [0.0, -0.5, 1.5])
def test_a_share_is_a_share(digits: Task, frac: float) -> None:
    with pytest.raises(ValueError, match=f"train_frac must be in \\(0, 1\\], got {frac}"):
        digits.reduced(frac)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_the_strata_draws_are_nested_and_cover_all(data: st.DataObject) -> None:
    num = data.draw(st.integers(2, 60))
    seed = data.draw(st.integers(0, 9))
    kind = data.draw(st.sampled_from(["classification", "multilabel", "regression"]))
    made = np.random.default_rng(seed)
    if kind == "classification":
        targets = made.integers(0, 6, num)
    else:
        targets = made.random((num, 3)).astype(np.float32)
        if kind == "multilabel":
            targets = (targets > 0.7).astype(np.float32)
    strata = strata_of(kind, targets)
    rows = np.arange(num)
    few, many = sorted(data.draw(st.tuples(st.integers(1, num), st.integers(1, num))))
    small, large = (nested_with_all(np.random.default_rng(seed), strata, rows, size) for size in (few, many))
    assert set(small) <= set(large) <= set(rows)
    assert len(set(small)) == len(small) >= few
    assert set(strata.members(small)[1]) == set(strata.members(rows)[1])
