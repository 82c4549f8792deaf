"""What benchmarks compute from what they have measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.fixed_grid import depth_of, fixed_grid
from benchmarks.flops import step_bound, sweep_bound
from benchmarks.shares import shares
from benchmarks.time_to_answer import BACKBONES, KNOWN, Report, front


class AnyTrial:
    """Takes the only value that a range has."""

    def suggest_float(self, name: str, low: float, high: float, **scale: Any) -> float:
        assert low == high
        return low

    def suggest_int(self, name: str, low: int, high: int, **scale: Any) -> int:
        assert low == high
        return low


def test_a_moment_is_shared_by_the_trials_that_run_in_it() -> None:
    held = shares({"a": (0.0, 4.0), "b": (2.0, 4.0)}, slots=2)
    assert held == {"a": 3.0, "b": 1.0}


def test_an_empty_slot_belongs_to_the_trial_that_takes_it_next() -> None:
    held = shares({"a": (0.0, 2.0), "b": (5.0, 6.0)}, slots=1)
    assert held == {"a": 2.0, "b": 4.0}


def test_the_first_worker_of_a_slot_is_charged_to_no_trial() -> None:
    held = shares({"a": (0.0, 4.0), "b": (3.0, 5.0), "c": (5.0, 6.0)}, slots=2)
    # Alone until 3, half of the next second, and "c" pays for the empty slot while "b" runs on.
    assert held == {"a": 3.5, "b": 1.0, "c": 1.5}


def test_trials_trained_together_take_one_wall() -> None:
    held = shares(dict.fromkeys(range(4), (0.0, 8.0)), slots=2)
    assert sum(held.values()) == 8.0


def test_bounds_are_what_the_arithmetic_owed_leaves() -> None:
    assert [round(step_bound(f), 3) for f in (0.0, 0.5, 0.75, 0.9)] == [1.0, 1.333, 2.0, 4.0]
    sizes = {"num_train": 100, "num_val": 0, "num_test": 0}
    many = sweep_bound(0.75, num_trials=10_000, epochs=1, **sizes)
    assert many == pytest.approx(step_bound(0.75), rel=1e-3)
    # A single epoch of a single trial is computed anyway: filling the cache saves nothing.
    assert sweep_bound(0.75, num_trials=1, epochs=1, **sizes) == pytest.approx(1.0)
    assert sweep_bound(0.0, num_trials=8, epochs=3, num_train=100, num_val=20, num_test=20) == 1.0


def test_a_fixed_grid_hands_out_its_points_in_order() -> None:
    grid = fixed_grid([0.0, 1.0], [1e-4, 1e-3], head_factor=10.0)
    bound = grid.bind(9, freeze_depth=0, tune_window=None)
    points = [bound(AnyTrial(), number) for number in range(4)]
    assert [(p["freeze_depth"], p["learning_rate"]) for p in points] == [(0, 1e-4), (0, 1e-3), (9, 1e-4), (9, 1e-3)]
    assert all(p["head_learning_rate"] == pytest.approx(10 * p["learning_rate"]) for p in points)
    assert [depth_of(share, 14) for share in (0.0, 1 / 3, 2 / 3, 1.0)] == [0, 5, 9, 14]


def test_the_front_changes_when_another_backbone_is_strictly_better() -> None:
    scores = [("a", 0.5), ("b", 0.5), ("b", 0.6), ("b", 0.7), ("a", 0.6), ("a", 0.8), ("b", 0.8)]
    reports = [Report(after_s=float(i), backbone=name, val_accuracy=s) for i, (name, s) in enumerate(scores)]
    assert front(reports) == [0, 2, 5]


@pytest.mark.skipif(not KNOWN.exists(), reason="made by python -m benchmarks.time_to_answer --exhaustive")
def test_the_exhaustive_run_names_its_best() -> None:
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    means = {name: found["mean"] for name, found in known["confirmed_test_accuracy"].items()}
    assert set(means) == set(BACKBONES)
    assert known["best"] == max(means, key=means.__getitem__)
    columns = known["columns"]
    confirmed: dict[str, list[float]] = {}
    for row in (dict(zip(columns, run, strict=True)) for run in known["runs"]):
        if row["phase"] == "confirmation":
            confirmed.setdefault(row["backbone"], []).append(row["test_accuracy"])
    assert {name: sum(scores) / len(scores) for name, scores in confirmed.items()} == pytest.approx(means)
