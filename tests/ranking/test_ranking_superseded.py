"""Confirmations of what was chosen before a sweep was given more budget: in the tables, and in no result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stressed import StressedWorld
from world import World, on_test, random_models, results_table, trials_table

from orchestrator.ranking import Planned, profile_tables, rank, superseded
from orchestrator.ranking.confirmed import confirmed
from orchestrator.ranking.study import read_runs
from orchestrator.records import TESTS, TRIALS

Tables = tuple[pa.Table, pa.Table]
Rows = list[dict[str, Any]]
SPENT = {"cost_s", "num_superseded"}
"""What superseded runs may change: they were paid for."""


def rows_of(tables: Tables) -> dict[str, dict[str, Any]]:
    return {row["backbone"]: row for row in rank(*tables).table.to_pylist()}


def more(tables: Tables, trials: Sequence[dict[str, Any]], tests: Sequence[dict[str, Any]]) -> Tables:
    extra = zip((trials, tests), (TRIALS, TESTS), strict=True)
    rows = [pa.Table.from_pylist(list(added), schema=schema) for added, schema in extra]
    return pa.concat_tables([tables[0], rows[0]]), pa.concat_tables([tables[1], rows[1]])


def repeats(of: dict[str, Any], first: int, count: int, rng: np.random.Generator, **fields: Any) -> tuple[Rows, Rows]:
    """Confirmations of a trial and its runs on less data, with what they scored."""
    trials: Rows = []
    tests: Rows = []
    for number in range(first, first + count):
        reduced = {"phase": "reduced", "train_frac": 0.3} if rng.random() < 0.3 else {"phase": "confirmation"}
        trials.append(of | reduced | {"number": number, "seed": 7 * number, "duration_s": 3.0} | fields)
        if trials[-1]["state"] == "completed":
            correct = rng.random(1000) < rng.uniform(0.1, 1.0)
            tests.append(on_test(number, backbone=of["backbone"], correct=correct))
    return trials, tests


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 6),
    first=st.integers(20, 90) | st.integers(200, 2000),  # none that a world has
    state=st.sampled_from(["completed", "completed", "failed"]),
    stressed=st.booleans(),
)
def test_they_change_nothing_but_what_was_spent(seed: int, count: int, first: int, state: str, stressed: bool) -> None:
    rng = np.random.default_rng(seed)
    kind = StressedWorld if stressed else World
    tables = kind(models=random_models(2, rng), seed=seed, stopped=0.1, collapse=0.1).tables()
    before = rank(*tables)
    trials: Rows = []
    tests: Rows = []
    for row in before.table.to_pylist():
        others = [
            run
            for run in tables[0].to_pylist()
            if run["backbone"] == row["backbone"] and run["phase"] in ("random", "tpe")
            if run["number"] != row["chosen_number"]
        ]
        was_chosen = others[int(rng.integers(len(others)))]
        added = repeats(was_chosen, first, count, rng, state=state, val_score=float(rng.uniform(0, 1)))
        trials += added[0]
        tests += added[1]
    tables_after = more(tables, trials, tests)
    after = rank(*tables_after)
    for old, new in zip(before.table.to_pylist(), after.table.to_pylist(), strict=True):
        assert {key: new[key] for key in new.keys() - SPENT} == {key: old[key] for key in old.keys() - SPENT}
        assert new["num_superseded"] == count
        assert new["cost_s"] == pytest.approx(old["cost_s"] + 3.0 * count)
    assert (after.pairs, after.verdicts) == (before.pairs, before.verdicts)
    assert superseded(tables_after[0]) == {(row["study"], row["number"]) for row in trials}
    assert superseded(tables[0]) == frozenset()


def test_they_are_in_no_profile_and_no_curve() -> None:
    tables, _, _ = extended(3, of_new=3)
    clean = without(tables, lambda row: row["number"] in (8, 9, 10))
    assert superseded(tables[0]) == {("t:m0", number) for number in (8, 9, 10)}
    with_them, without_them = profile_tables(*tables), profile_tables(*clean)
    for name in ("profiles", "depth_curves", "surface_maps", "tuning_curves", "cost_leaders"):
        assert getattr(with_them, name).num_rows > 0
        assert getattr(with_them, name).equals(getattr(without_them, name)), name


def test_a_sweep_in_two_steps_is_ranked_as_one_in_one() -> None:
    """The same trials and the same last confirmations, with and without those that came in between."""
    world = World(models=random_models(2, np.random.default_rng(3)), seed=3, num_random=4, num_tpe=8)
    trials, tests = (table.to_pylist() for table in world.tables())

    def renumbered(row: dict[str, Any]) -> dict[str, Any]:  # numbers 4 to 6 went to the first confirmations
        return row | {"number": row["number"] + 3 * (row["number"] >= 4)}

    apart = trials_table(map(renumbered, trials)), results_table(map(renumbered, tests))
    between: tuple[Rows, Rows] = ([], [])
    for name, chosen in world.chosen.items():
        first = next(row for row in trials if row["backbone"] == name and row["number"] != chosen["number"])
        runs, results = repeats(first, 4, 3, np.random.default_rng(1), phase="confirmation", train_frac=1.0)
        between[0].extend(runs)
        between[1].extend(results)
    in_two, in_one = rows_of(more(apart, *between)), rows_of((trials_table(trials), results_table(tests)))
    for name, row in in_one.items():
        same = row.keys() - SPENT - {"chosen_number"}
        assert {key: in_two[name][key] for key in same} == {key: row[key] for key in same}


def extended(count: int, *, of_new: int) -> tuple[Tables, dict[str, Any], dict[str, Any]]:
    """A study with `count` confirmations, then a trial that is chosen by far and has `of_new`; both choices."""
    tables = World(models=random_models(1, np.random.default_rng(5)), seed=5, num_confirmations=count).tables()
    old = next(row for row in tables[0].to_pylist() if row["phase"] == "confirmation")
    late = old | {"number": 40, "phase": "tpe", "val_score": 0.99, "seed": 40}
    late |= {"learning_rate": 3e-4, "freeze_depth": 1, "freeze_frac": 0.125}
    trials, tests = repeats(late, 41, of_new, np.random.default_rng(2), phase="confirmation", train_frac=1.0)
    return more(tables, [late, *trials], tests), old, late


def test_what_is_confirmed_stands_until_the_next_is() -> None:
    for of_new in (0, 1):
        tables, old, _ = extended(3, of_new=of_new)
        ranking = rank(*tables)
        [row] = ranking.table.to_pylist()
        assert row["best_freeze_depth"] == old["freeze_depth"]
        assert (row["num_confirmations"], row["num_superseded"]) == (3, of_new)
        [verdict] = ranking.verdicts
        assert any(
            "m0: trial 40 is chosen on validation by now and is not confirmed yet" in s for s in verdict.sentences
        )
        assert superseded(tables[0]) == {("t:m0", number) for number in range(41, 41 + of_new)}
    tables, _, late = extended(3, of_new=2)
    [row] = rank(*tables).table.to_pylist()
    assert (row["chosen_number"], row["best_freeze_depth"]) == (40, late["freeze_depth"])
    assert (row["num_confirmations"], row["num_superseded"], row["num_confirmations_lost"]) == (2, 3, 0)
    assert not any("not confirmed yet" in sentence for sentence in rank(*tables).verdicts[0].sentences)


def test_of_two_old_choices_the_last_stands() -> None:
    tables, old, _ = extended(3, of_new=3)
    newest = old | {
        "number": 60,
        "phase": "tpe",
        "val_score": 0.999,
        "learning_rate": 2e-4,
        "freeze_depth": 1,
        "seed": 60,
    }
    tables = more(tables, [newest | {"freeze_frac": 0.125}], [])
    found = confirmed(read_runs(tables[0]))
    assert found.chosen is not None
    assert found.awaited is not None
    assert (found.chosen.number, found.awaited.number) == (40, 60)
    assert {run.phase for run in found.superseded} == {"confirmation"}
    assert [run.number for run in found.superseded] == [8, 9, 10]


def test_a_choice_that_comes_back_finds_its_confirmations() -> None:
    tables, old, _ = extended(3, of_new=3)
    trials = trials_table(row | ({"val_score": 0.3} if row["number"] == 40 else {}) for row in tables[0].to_pylist())
    [row] = rank(trials, tables[1]).table.to_pylist()
    assert row["best_freeze_depth"] == old["freeze_depth"]
    assert (row["num_confirmations"], row["num_superseded"]) == (3, 3)


def test_a_repeat_with_the_same_seed_tells_nothing_twice() -> None:
    tables = World(models=random_models(1, np.random.default_rng(5)), seed=5).tables()
    last = next(row for row in tables[0].to_pylist() if row["number"] == 10)
    result = next(row for row in tables[1].to_pylist() if row["number"] == 10)
    [before] = rank(*tables).table.to_pylist()
    [after] = rank(*more(tables, [last | {"number": 11}], [result | {"number": 11}])).table.to_pylist()
    assert (after["num_confirmations"], after["num_superseded"]) == (3, 1)
    assert after["confirmation_mean"] == before["confirmation_mean"]
    # One that failed does not take the place of one that completed.
    failed = last | {"number": 11, "state": "failed", "val_score": None}
    assert superseded(more(tables, [failed], [])[0]) == {("t:m0", 11)}


def test_more_seeds_of_the_same_choice_all_count() -> None:
    tables = World(models=random_models(1, np.random.default_rng(5)), seed=5).tables()
    first = next(row for row in tables[0].to_pylist() if row["phase"] == "confirmation")
    trials, tests = repeats(first, 50, 2, np.random.default_rng(0), phase="confirmation", train_frac=1.0)
    [row] = rank(*more(tables, trials, tests)).table.to_pylist()
    assert (row["num_confirmations"], row["num_superseded"]) == (5, 0)


# --- how far a sweep came


@pytest.fixture(scope="module")
def whole() -> Tables:
    return World(models=random_models(3, np.random.default_rng(7)), seed=7).tables()


PLANNED = {f"t:m{index}": Planned(trials=8, confirmations=3, reduced=0) for index in range(3)}


def without(tables: Tables, gone: Callable[[dict[str, Any]], bool]) -> Tables:
    keys = {(row["study"], row["number"]) for row in tables[0].to_pylist() if gone(row)}
    return (
        trials_table(row for row in tables[0].to_pylist() if (row["study"], row["number"]) not in keys),
        results_table(row for row in tables[1].to_pylist() if (row["study"], row["number"]) not in keys),
    )


def test_a_whole_sweep_is_covered_and_says_nothing_of_it(whole: Tables) -> None:
    ranking = rank(*whole, planned=PLANNED)
    assert ranking.table["coverage"].to_pylist() == [1.0, 1.0, 1.0]
    assert not any("end" in sentence for sentence in ranking.verdicts[0].sentences)
    assert ranking.table.equals(rank(*whole).table)


def test_an_interrupted_sweep_says_how_far_each_study_came(whole: Tables) -> None:
    def gone(row: dict[str, Any]) -> bool:
        first = {"t:m0": 5, "t:m1": 9, "t:m2": 0}[row["study"]]
        return bool(row["number"] >= first)

    ranking = rank(*without(whole, gone), planned=PLANNED)
    rows = {row["backbone"]: row for row in ranking.table.to_pylist()}
    assert {name: row["coverage"] for name, row in rows.items()} == {
        "m0": pytest.approx(5 / 11), "m1": pytest.approx(9 / 11), "m2": 0.0,
    }  # fmt: skip
    assert {row["status"] for row in rows.values()} == {"insufficient"}
    assert rows["m2"]["reason"] == "no run has ended"
    [verdict] = ranking.verdicts
    assert verdict.insufficient == ("m0", "m1", "m2")
    [said] = [sentence for sentence in verdict.sentences if "has not come to its end" in sentence]
    assert "m0 has 5 of 8 trials and 0 of 3 confirmations" in said
    assert "m1 has 1 of 3 confirmations" in said
    assert "m2 has no finished run" in said
    [without_rank] = [sentence for sentence in verdict.sentences if sentence.startswith("Without a rank")]
    assert "m1: 1 usable confirmations" in without_rank


def test_failed_runs_are_missing_from_the_coverage(whole: Tables) -> None:
    chosen = rows_of(whole)["m0"]["chosen_number"]
    others = [number for number in range(8) if number != chosen][:2]

    def failed(row: dict[str, Any]) -> dict[str, Any]:
        hit = row["study"] == "t:m0" and row["number"] in (*others, 8)
        return row | ({"state": "failed", "val_score": None, "error": "out of memory"} if hit else {})

    trials = trials_table(map(failed, whole[0].to_pylist()))
    for planned in (PLANNED, None):
        rows = {row["backbone"]: row for row in rank(trials, whole[1], planned=planned).table.to_pylist()}
        assert rows["m0"]["coverage"] == pytest.approx(8 / 11)
        assert (rows["m0"]["num_failed"], rows["m0"]["num_confirmations_lost"]) == (2, 1)
        assert (rows["m0"]["status"], rows["m1"]["coverage"]) == ("ranked", 1.0)
    no_test = results_table(row for row in whole[1].to_pylist() if (row["study"], row["number"]) != ("t:m1", 9))
    rows = {row["backbone"]: row for row in rank(whole[0], no_test, planned=PLANNED).table.to_pylist()}
    assert rows["m1"]["coverage"] == pytest.approx(10 / 11), "a confirmation without a test score gave no result"


@pytest.mark.parametrize(("num_trials", "num_confirmations"), [(1, 1), (1, 0), (2, 3), (5, 1)])
def test_too_little_is_marked_and_has_no_number(num_trials: int, num_confirmations: int) -> None:
    """One seed or one trial ranks nobody."""
    tables = World(
        models=random_models(2, np.random.default_rng(1)),
        num_random=num_trials,
        num_tpe=0,
        num_confirmations=num_confirmations,
    ).tables()
    ranking = rank(*tables)
    for row in ranking.table.to_pylist():
        assert row["status"] == "insufficient"
        assert "are needed" in row["reason"]
        assert all(row[name] is None for name in ("rank", "rank_low", "rank_high", "score", "ci_low", "p_best"))
    assert ranking.pairs.num_rows == 0
    assert ranking.verdicts[0].sentences[0] == "No backbone has enough finished runs to be ranked."
    assert ranking.verdicts[0].leaders == ()
