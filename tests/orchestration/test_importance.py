"""Importances, and that a parameter which does nothing is not called important."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.ranking_truth.tables import trial, trials_table
from orchestrator.importance import MIN_TRIALS, Importance, importances


def searched(num: int, seed: int = 0, *, matters: bool = True) -> pa.Table:
    """The learning rate decides, the head's does nothing; weight decay was not searched."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num):
        depth, rate, head = int(rng.integers(0, 9)), rng.uniform(-5, -1.5), rng.uniform(-4, -1)
        score = 0.8 - 0.05 * (rate + 3) ** 2 if matters and depth < 8 else 0.6
        rows.append(
            trial(
                number,
                freeze_depth=depth,
                learning_rate=None if depth == 8 else 10**rate,
                head_learning_rate=10**head,
                val_score=score + 0.003 * rng.standard_normal(),
            )
        )
    return trials_table(rows)


def by_parameter(found: list[Importance]) -> dict[str, Importance]:
    return {one.parameter: one for one in found}


def test_what_matters_stands_out_from_the_dummies() -> None:
    found = by_parameter(importances(searched(60)))
    assert set(found) == {"freeze_frac", "learning_rate", "head_learning_rate"}
    assert found["learning_rate"].is_shown
    assert found["learning_rate"].importance > 3 * found["learning_rate"].dummy_mean
    assert not found["head_learning_rate"].is_shown
    total = sum(one.importance for one in found.values()) + found["learning_rate"].dummy_mean
    assert total == pytest.approx(1.0)
    assert {one.num_trials for one in found.values()} == {60}


def test_where_nothing_matters_nothing_is_called_important_more_often_than_chance_has_it() -> None:
    called = [one.is_shown for seed in range(8) for one in importances(searched(30, seed, matters=False))]
    assert np.mean(called) <= 0.25


@pytest.mark.filterwarnings("error")
def test_where_all_trials_score_the_same_nothing_is_shown_and_nothing_warned_of() -> None:
    rows = [row | {"val_score": 0.9} for row in searched(MIN_TRIALS).to_pylist()]
    found = importances(trials_table(rows))
    assert len(found) == 3
    assert not any(one.is_shown for one in found)


def test_repeats_failures_and_small_studies_do_not_count() -> None:
    rows = searched(MIN_TRIALS).to_pylist()
    whole = importances(trials_table(rows))
    assert whole == importances(trials_table(rows)), "seeded"
    repeats = [
        {**rows[0], "number": 50 + index, "phase": phase, "train_frac": frac, "val_score": 0.99}
        for index, (phase, frac) in enumerate((("confirmation", 1.0), ("reduced", 0.1)))
    ]
    failed = {**rows[0], "number": 60, "state": "failed", "val_score": None}
    assert importances(trials_table([*repeats, failed, *rows])) == whole
    assert importances(trials_table(rows[:-1])) == []
    same = {"freeze_depth": 4, "freeze_frac": 0.5, "learning_rate": 1e-3, "head_learning_rate": 1e-2}
    assert importances(trials_table([row | same for row in rows])) == []
