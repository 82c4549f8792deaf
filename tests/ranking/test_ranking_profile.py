"""Profiles: sensitivity, cost and curves, by hand and against surfaces that are known."""

from __future__ import annotations

import importlib.util
import math
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from world import NUM_BLOCKS, SPACE, Model, World, random_models

from orchestrator.ranking import InvalidTable, ProfileTables, profile_tables, rank
from orchestrator.ranking.bands import slice_band
from orchestrator.ranking.cost import MOST_TRIALS, Replayed, cost_leaders, on_pareto_front
from orchestrator.ranking.curve import expected_best
from orchestrator.ranking.scale import FLOOR
from orchestrator.ranking.schema import COST_LEADERS, DEPTH_CURVES, PROFILES, SURFACE_MAPS, TUNING_CURVES
from orchestrator.ranking.sensitivity import Grid, sensitivity
from orchestrator.records import TESTS, TRIALS

MODELS = {
    "steep": Model(best=0.88, rate_cost=0.04, depth=0.1, depth_cost=0.12),
    "flat": Model(best=0.86, rate_cost=0.004, depth=0.5, depth_cost=0.01, cliff=3.0),
}
has_opda = importlib.util.find_spec("opda") is not None


@pytest.fixture(scope="module")
def tables() -> tuple[pa.Table, pa.Table]:
    return World(models=MODELS, num_random=14, num_tpe=8, num_test=3000, num_val=2000).tables()


@pytest.fixture(scope="module")
def profiled(tables: tuple[pa.Table, pa.Table]) -> ProfileTables:
    return profile_tables(*tables)


def of(table: pa.Table, backbone: str, **fields: Any) -> list[dict[str, Any]]:
    wanted = {"backbone": backbone, **fields}
    return [row for row in table.to_pylist() if all(row[key] == value for key, value in wanted.items())]


def level(model: Model, depth: int, rate: float | None) -> float:
    """Expected accuracy; `rate` in log10."""
    return model.of((depth, None if rate is None else 10.0**rate, 10**-2.5), SPACE)


def test_schemas(profiled: ProfileTables, tables: tuple[pa.Table, pa.Table]) -> None:
    for table, schema in (
        (profiled.profiles, PROFILES),
        (profiled.depth_curves, DEPTH_CURVES),
        (profiled.surface_maps, SURFACE_MAPS),
        (profiled.tuning_curves, TUNING_CURVES),
        (profiled.cost_leaders, COST_LEADERS),
    ):
        assert table.schema.equals(schema)
        values = [value for row in table.to_pylist() for value in row.values()]
        assert not any(isinstance(value, float) and math.isnan(value) for value in values)
    assert [row["backbone"] for row in profiled.profiles.to_pylist()] == ["flat", "steep"]


def test_a_profile_agrees_with_the_ranking(profiled: ProfileTables, tables: tuple[pa.Table, pa.Table]) -> None:
    for row in rank(*tables).table.to_pylist():
        [profile] = of(profiled.profiles, row["backbone"])
        assert (profile["quality"] - row["chance"]) / (1 - row["chance"]) == pytest.approx(row["quality"])
        assert profile["run_cost_s"] == row["run_cost_s"]


def test_sensitivity_against_known_surfaces(profiled: ProfileTables) -> None:
    found = {name: of(profiled.profiles, name)[0] for name in MODELS}
    for name, model in MODELS.items():
        rates = np.linspace(*SPACE.rates, 200)
        at_depths = [max(level(model, depth, rate) for rate in rates) for depth in range(NUM_BLOCKS)]
        at_depths.append(level(model, NUM_BLOCKS, None))
        row = found[name]
        assert row["depth_cost_low"] <= max(at_depths) - min(at_depths) <= row["depth_cost_high"]
        assert row["probe_cost_low"] <= max(at_depths) - at_depths[-1] <= row["probe_cost_high"]
        best = int(np.argmax(at_depths[:-1]))
        values = np.array([level(model, best, rate) for rate in rates])
        tolerance = np.mean(values >= values.max() - 0.01) * np.ptp(rates)
        assert row["lr_tolerance_decades_low"] <= tolerance + 0.3
        assert row["lr_tolerance_decades_high"] >= tolerance - 0.3
    assert found["steep"]["lr_tolerance_decades"] < found["flat"]["lr_tolerance_decades"]
    assert found["steep"]["depth_cost"] > found["flat"]["depth_cost"] + 0.02
    assert found["steep"]["best_freeze_frac"] <= 0.5


def test_depth_curves_hold_the_truth(profiled: ProfileTables) -> None:
    for name, model in MODELS.items():
        rows = of(profiled.depth_curves, name)
        assert [row["freeze_frac"] for row in rows] == [depth / NUM_BLOCKS for depth in range(NUM_BLOCKS + 1)]
        inside = 0
        for row in rows:
            rates = [None] if row["freeze_frac"] == 1 else np.linspace(*SPACE.rates, 100)
            truth = max(level(model, round(row["freeze_frac"] * NUM_BLOCKS), rate) for rate in rates)
            inside += row["low"] - 0.005 <= truth <= row["high"] + 0.005
            assert row["low"] <= row["score"] <= row["high"]
        assert inside >= NUM_BLOCKS - 1


def test_surface_maps_cover_depths_and_rates(profiled: ProfileTables) -> None:
    rows = of(profiled.surface_maps, "steep")
    [probe] = [row for row in rows if row["learning_rate"] is None]
    assert probe["freeze_frac"] == 1.0
    tuned = [row for row in rows if row["learning_rate"] is not None]
    assert len(tuned) == NUM_BLOCKS * len({row["learning_rate"] for row in tuned})
    by_depth = {row["freeze_frac"]: row["score"] for row in of(profiled.depth_curves, "steep")}
    for frac in {row["freeze_frac"] for row in tuned}:
        assert max(row["score"] for row in tuned if row["freeze_frac"] == frac) <= by_depth[frac] + 1e-9
    assert all(0 < row["sd"] < 0.5 for row in rows)


def test_tuning_curves_rise_and_replay_agrees_with_the_slice(profiled: ProfileTables) -> None:
    for name, model in MODELS.items():
        replayed, sliced = (of(profiled.tuning_curves, name, estimator=kind) for kind in ("replay", "slice"))
        assert [row["num_trials"] for row in sliced] == [1, 2, 3, 4, 6, 8, 12]
        assert replayed[-1]["num_trials"] == MOST_TRIALS
        assert np.all(np.diff([row["score"] for row in replayed]) > 0)
        assert [row["cost_s"] for row in replayed] == [10.0 * row["num_trials"] for row in replayed]
        values = np.sort(model.grid(SPACE))
        share = (np.arange(values.size) + 1) / values.size
        for row in replayed[:6]:
            truth = float(values @ np.diff(share ** row["num_trials"], prepend=0.0))
            assert row["score"] == pytest.approx(truth, abs=0.035)
        for row, other in zip(sliced, replayed, strict=False):
            assert row["score"] == pytest.approx(other["score"], abs=0.05)
            assert (row["low"] is not None) == has_opda


def test_what_random_trials_do_to_the_slice() -> None:
    """A failed one scored chance; an untested one leaves no random sample."""
    trials, tests = World(models={"a": Model()}, num_random=6, num_tpe=0).tables()
    rows, results = trials.to_pylist(), tests.to_pylist()
    rows[2] |= {"state": "failed", "val_score": None}
    failed = pa.Table.from_pylist(rows, schema=TRIALS), pa.Table.from_pylist(results[:2] + results[3:], schema=TESTS)
    one = of(profile_tables(*failed).tuning_curves, "a", estimator="slice")[0]
    others = [row["test_score"] for row in results[:6] if row["number"] != 2]
    assert one["score"] == pytest.approx(np.mean([*others, results[0]["chance"]]))
    untested = trials, pa.Table.from_pylist(results[:2] + results[3:], schema=TESTS)
    assert of(profile_tables(*untested).tuning_curves, "a", estimator="slice") == []


def test_a_regression_that_blew_up_has_a_slice() -> None:
    """An R2 below what counts is as good as the least that does."""
    trials, tests = World(models={"a": Model()}, num_random=6, num_tpe=0, metric="r2").tables()
    results = tests.to_pylist()
    results[2] |= {"test_score": -3000.0, "example_scores": [-3000.0] * 1000}
    blown = pa.Table.from_pylist(results, schema=TESTS)
    one = of(profile_tables(trials, blown).tuning_curves, "a", estimator="slice")[0]
    scores = [row["test_score"] for row in results[:6]]
    assert one["score"] == pytest.approx(np.mean([max(score, FLOOR) for score in scores]))


def test_a_probe_that_nobody_tried_is_not_in_the_space() -> None:
    trials, tests = World(models={"a": Model()}, num_random=6, num_tpe=0).tables()
    deepest = {"freeze_depth": NUM_BLOCKS - 1, "freeze_frac": 1 - 1 / NUM_BLOCKS, "learning_rate": 1e-3}
    rows = [row | (deepest if row["freeze_depth"] == NUM_BLOCKS else {}) for row in trials.to_pylist()]
    rows[0] |= deepest  # so that the range, widened, reaches the probe
    found = profile_tables(pa.Table.from_pylist(rows, schema=TRIALS), tests)
    assert max(found.depth_curves["freeze_frac"].to_pylist()) < 1
    assert found.profiles["probe_cost"].to_pylist() == [None]


def test_a_study_without_enough_runs_keeps_its_row(tables: tuple[pa.Table, pa.Table]) -> None:
    trials, tests = tables
    fewer = [row for row in trials.to_pylist() if (row["backbone"], row["phase"]) != ("flat", "confirmation")]
    known = {(row["study"], row["number"]) for row in fewer}
    kept = [row for row in tests.to_pylist() if (row["study"], row["number"]) in known]
    found = profile_tables(pa.Table.from_pylist(fewer, schema=TRIALS), pa.Table.from_pylist(kept, schema=TESTS))
    [row] = of(found.profiles, "flat")
    assert {value for key, value in row.items() if key not in ("task", "backbone")} == {None}
    assert of(found.profiles, "steep")[0]["on_pareto_front"]
    assert set(found.depth_curves["backbone"].to_pylist()) == {"steep"}


def test_tables_are_checked(tables: tuple[pa.Table, pa.Table]) -> None:
    with pytest.raises(InvalidTable, match=r"missing columns \['val_score'\]"):
        profile_tables(tables[0].drop_columns(["val_score"]), tables[1])


def test_a_space_of_probes_alone() -> None:
    world = World(models=random_models(1, np.random.default_rng(0)), num_random=6, num_tpe=2)
    trials, tests = world.tables()
    probe = {"freeze_depth": NUM_BLOCKS, "freeze_frac": 1.0, "learning_rate": None}
    rows = [row | probe for row in trials.to_pylist()]
    chosen = next(row for row in rows if row["phase"] == "confirmation")
    for row in rows:
        if row["phase"] == "random":
            row["head_learning_rate"] = chosen["head_learning_rate"] * 2.0 ** (row["number"] - 2)
    found = profile_tables(pa.Table.from_pylist(rows, schema=TRIALS), tests)
    for row in found.profiles.to_pylist():
        assert row["lr_tolerance_decades"] is None
    assert {row["learning_rate"] for row in found.surface_maps.to_pylist()} <= {None}


# By hand


def test_sensitivity_of_a_surface_without_doubt() -> None:
    rates = np.linspace(-4, -2, 21)
    tuned = np.stack([0.9 - 0.02 * np.abs(rates + 3), 0.85 - 0.0 * rates])[None]
    grid = Grid(fracs=(0.0, 0.5), rates=rates, tuned=np.repeat(tuned, 3, axis=0), probe=np.full((3, 2), 0.8))
    found = sensitivity(grid, 0.95)
    assert found.lr_tolerance_decades is not None
    assert found.probe_cost is not None
    assert found.lr_tolerance_decades.value == pytest.approx(1.0, abs=0.1)
    assert found.depth_cost.value == pytest.approx(0.1)
    assert found.probe_cost.value == pytest.approx(0.1)
    assert found.best_freeze_frac == 0.0


def test_pareto_front() -> None:
    points = [(0.90, 100.0), (0.85, 20.0), (0.84, 20.0), (0.80, 30.0), (0.95, None), (0.94, None), (0.90, 100.0)]
    assert on_pareto_front(points) == [True, True, False, False, True, False, True]
    assert on_pareto_front([]) == []


def test_trials_and_seconds_to_within_a_point() -> None:
    search = Replayed(curves=np.array([[0.5, 0.8, 0.895, 0.9]] * 2), trial_cost_s=30.0)
    assert search.trials_to_within(0.9) == 3
    assert search.cost_s(3) == 90.0
    assert search.trials_to_within(0.92) is None
    assert search.cost_s(None) is None


def test_who_leads_at_which_spending() -> None:
    def row(backbone: str, cost: float, score: float, task: str = "t") -> dict[str, Any]:
        return {"task": task, "backbone": backbone, "estimator": "replay", "cost_s": cost, "score": score}

    rows = [row("slow", 50, 0.7), row("slow", 100, 0.9), row("fast", 10, 0.6), row("fast", 20, 0.8)]
    rows += [row("only", 5, 0.1, "s"), {**row("fast", 1, 0.99), "estimator": "slice"}]
    found = [(one["task"], one["from_s"], one["backbone"], one["score"]) for one in cost_leaders(rows)]
    assert found == [("s", 5, "only", 0.1), ("t", 10, "fast", 0.6), ("t", 100, "slow", 0.9)]


@pytest.mark.skipif(not has_opda, reason="opda is not installed")
def test_bands_hold_around_random_samples() -> None:
    """The truth of 8 uniform trials, and ties as a finite test set makes them."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(12):
        scores = np.round(rng.uniform(0.5, 1.0, 8), 2)
        ends = slice_band(scores, scores, [1, 4, 8], 0.8, 0.0)
        assert ends is not None
        truth = 0.5 + 0.5 * np.array([1, 4, 8]) / np.array([2, 5, 9])
        held += bool(np.all((ends[0] <= truth) & (truth <= ends[1])))
        assert np.all(ends[0] <= expected_best(scores, scores, [1, 4, 8]) + 1e-9)
    assert held >= 7  # nominal 9.6, at least, of 12


def test_without_opda_there_is_no_band(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opda.nonparametric", None)
    assert slice_band(np.arange(5.0) / 5, np.arange(5.0) / 5, [1, 2], 0.8, 0.0) is None
