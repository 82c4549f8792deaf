"""What the ranking accepts, what it refuses, and the shape of what it returns."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from world import CHANCE, NUM_BLOCKS, World, on_regression, on_test, random_models, results_table, trial, trials_table

import orchestrator.ranking as ranking
from orchestrator.ranking import PAIRS, RANKING, InvalidTable, NoCompletedTrial, RankingOptions, choose, rank
from orchestrator.ranking.study import read_runs
from orchestrator.records import TESTS, TRIALS

UNMEASURED = {"data_efficiency", "data_efficiency_sd", "robustness", "robustness_sd"}


def small_world(**fields: object) -> World:
    return World(models=random_models(3, np.random.default_rng(5)), **fields)  # type: ignore[arg-type]


def test_exported_names_are_exact() -> None:
    assert ranking.__all__ == [
        *("PAIRS", "PRESETS", "RANKING", "Aggregate", "Comparison", "InvalidTable", "NoCompletedTrial"),
        *("Planned", "ProfileTables", "RaceEnd", "Ranking", "RankingOptions", "Verdict", "aggregate", "choose"),
        *("common_weights", "compare", "fallen", "profile_tables", "rank", "rank_scores", "superseded"),
    ]


def test_needs_no_heavy_import() -> None:
    code = "import sys, orchestrator.ranking; print([m for m in %r if m in sys.modules])"
    heavy = ["torch", "ray", "mlflow", "optuna", "pandas", "sklearn", "matplotlib"]
    out = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_schemas_and_row_counts() -> None:
    result = rank(*small_world().tables())
    assert result.table.schema.equals(RANKING)
    assert result.pairs.schema.equals(PAIRS)
    assert result.table.num_rows == 3
    assert result.pairs.num_rows == 3
    assert [verdict.task for verdict in result.verdicts] == ["t"]


def test_numbers_are_fractions_and_never_nan() -> None:
    result = rank(*small_world(stopped=0.2, collapse=0.2).tables())
    for row in [*result.table.to_pylist(), *result.pairs.to_pylist()]:
        assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())
    for row in result.table.to_pylist():
        if row["status"] == "ranked":
            promised = set(RANKING.names) - {"reason", "best_learning_rate"} - UNMEASURED
            assert all(row[name] is not None for name in promised)
            assert -0.2 <= row["quality"] <= 1
            assert row["ci_low"] <= row["score"] <= row["ci_high"]
            assert row["rank_low"] <= row["rank"] <= row["rank_high"]
            assert row["rank_low"] <= row["found_rank_low"] <= row["found_rank_high"] <= row["rank_high"]


def test_shuffled_rows_change_nothing() -> None:
    trials, tests = small_world(stopped=0.1).tables()
    rng = np.random.default_rng(3)
    shuffled = trials.take(rng.permutation(trials.num_rows)), tests.take(rng.permutation(tests.num_rows))
    one, other = rank(trials, tests), rank(*shuffled)
    assert one.table.equals(other.table)
    assert one.pairs.equals(other.pairs)
    assert one.verdicts == other.verdicts


def test_repeated_call_is_identical_and_the_seed_matters_little() -> None:
    tables = small_world().tables()
    one, again, other = rank(*tables), rank(*tables), rank(*tables, options=RankingOptions(seed=1))
    assert one.table.equals(again.table)
    for row, moved in zip(one.table.to_pylist(), other.table.to_pylist(), strict=True):
        assert row["backbone"] == moved["backbone"]
        assert row["score"] == pytest.approx(moved["score"], abs=0.01)


def test_empty_tables_give_an_empty_ranking() -> None:
    result = rank(TRIALS.empty_table(), TESTS.empty_table())
    assert result.table.num_rows == result.pairs.num_rows == len(result.verdicts) == 0


def test_tasks_are_ranked_apart() -> None:
    models = random_models(3, np.random.default_rng(5))
    one = World(models=models, task="flowers", seed=1).tables()
    other = World(models=models, task="pets", seed=2, num_test=600).tables()
    both = rank(pa.concat_tables([one[0], other[0]]), pa.concat_tables([one[1], other[1]]))
    assert [verdict.task for verdict in both.verdicts] == ["flowers", "pets"]
    alone = rank(*one).table.to_pylist() + rank(*other).table.to_pylist()
    assert both.table.to_pylist() == alone


def test_choose_cannot_be_handed_test_scores() -> None:
    table = trials_table([trial(n) for n in range(4)])
    assert not any(name.startswith("test") or name in ("correct", "num_test") for name in TRIALS.names)
    for name in ("test_score", "correct", "anything"):
        with pytest.raises(InvalidTable, match=name):
            choose(table.append_column(name, pa.array([0.5] * 4)))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("phase", "grid", "phase is 'grid'"),
        ("state", "done", "state is 'done'"),
        ("learning_rate", 0.0, "learning_rate is 0.0"),
        ("head_learning_rate", -1.0, "head_learning_rate is -1.0"),
        ("freeze_frac", 1.5, "freeze_frac is 1.5"),
        ("tune_stop", 9, "tune_stop is 9, must lie between freeze_depth .4. and num_blocks .8."),
        ("tune_stop", 3, "tune_stop is 3, must lie between"),
    ],
)
def test_impossible_values_are_named(field: str, value: object, words: str) -> None:
    with pytest.raises(InvalidTable, match=words):
        choose(trials_table([trial(0), trial(1, **{field: value})]))


def test_contradicting_tables_are_refused() -> None:
    bits = np.ones(16, dtype=bool)
    one = trials_table([trial(0)])
    with pytest.raises(InvalidTable, match="two rows"):
        choose(trials_table([trial(0), trial(0)]))
    with pytest.raises(InvalidTable, match="one study, got 2"):
        choose(trials_table([trial(0), trial(1, backbone="b")]))
    with pytest.raises(InvalidTable, match="missing columns"):
        choose(one.drop_columns(["val_score"]))
    with pytest.raises(InvalidTable, match="no such run"):
        rank(one, results_table([on_test(7, correct=bits)]))
    with pytest.raises(InvalidTable, match="two rows"):
        rank(one, results_table([on_test(0, correct=bits), on_test(0, correct=bits)]))
    with pytest.raises(InvalidTable, match="holds 2 bytes, num_test is 17"):
        rank(one, results_table([on_test(0, correct=bits, num_test=17)]))
    with pytest.raises(InvalidTable, match="exactly one of `correct` and `example_scores`"):
        rank(one, results_table([on_test(0, correct=bits, example_scores=[1.0] * 16)]))
    with pytest.raises(InvalidTable, match="exactly one of `correct` and `example_scores`"):
        rank(one, results_table([on_test(0, correct=bits) | {"correct": None}]))
    for scores, count in (([1.0] * 15, 16), ([1.0, float("nan")], 2), ([1.0, None], 2), ([], 0)):
        row = on_regression(0, scores=[1.0], num_test=count, example_scores=scores)
        with pytest.raises(InvalidTable, match="`example_scores` must be"):
            rank(one, results_table([row]))
    with pytest.raises(InvalidTable, match="chance is 1"):
        rank(one, results_table([on_test(0, correct=bits, chance=1.0)]))
    with pytest.raises(InvalidTable, match="other runs have"):
        rank(
            trials_table([trial(0), trial(1)]),
            results_table([on_test(0, correct=bits), on_test(1, correct=bits, metric="f1_macro")]),
        )


def test_the_end_of_tuning_has_no_effect_where_all_runs_share_it() -> None:
    """Depths alone are searched, or windows that all end before the last blocks."""
    trials, tests = World(models=random_models(3, np.random.default_rng(5))).tables()
    rows = trials.to_pylist()
    for row in rows:  # to the first blocks, without probes, so that each window of 7 blocks is one
        row |= {"freeze_depth": row["freeze_depth"] // 3, "freeze_frac": row["freeze_depth"] // 3 / NUM_BLOCKS}
        row |= {"learning_rate": row["learning_rate"] or 1e-3}
    whole, part = (rank(trials_table([row | {"tune_stop": stop} for row in rows]), tests) for stop in (8, 7))
    assert whole.table.drop_columns("best_tune_stop").equals(part.table.drop_columns("best_tune_stop"))
    assert whole.pairs.equals(part.pairs)
    assert whole.verdicts == part.verdicts
    assert set(part.table["best_tune_stop"].to_pylist()) == {7}


@pytest.mark.parametrize(
    "change",
    [
        {"tune_stop": 6},
        {"head_init": "probe"},
        {"stay_near": 0.1},
        {"config": '{"optimizer": "sgd", "seed": 0}'},
        {"weight_decay": 0.1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_configuration_is_all_but_its_seed(change: dict[str, object]) -> None:
    same = {"config": '{"seed": 3, "optimizer": "adamw"}'}
    rows = [trial(0, config='{"optimizer": "adamw", "seed": 1}'), trial(1, **same), trial(2, **same | change)]
    first, again, other = (run.configuration for run in read_runs(trials_table(rows)))
    assert first == again != other


def test_test_rows_of_other_studies_are_ignored() -> None:
    trials, tests = small_world().tables()
    kept = pa.Table.from_pylist([r for r in trials.to_pylist() if r["backbone"] == "m1"], schema=TRIALS)
    assert rank(kept, tests).table["backbone"].to_pylist() == ["m1"]


def test_options_name_every_offending_value() -> None:
    with pytest.raises(ValueError, match=r"'speed'.*eps is -1.*confidence is 2"):
        RankingOptions(weights={"speed": 1.0}, eps=-1.0, confidence=2.0)
    with pytest.raises(ValueError, match="no weight above 0"):
        RankingOptions(weights={"robustness": 0.0})
    measured = ("quality", "ease")
    shares = {"quality": 0.75, "ease": 0.25, "data_efficiency": 0.0, "robustness": 0.0}
    assert RankingOptions().shares(measured) == pytest.approx(shares)
    alone = {"quality": 1.0, "ease": 0.0, "data_efficiency": 0.0, "robustness": 0.0}
    assert RankingOptions(weights={"robustness": 1.0}).shares(measured) == alone


def test_nothing_completed_is_a_value_error() -> None:
    table = trials_table([trial(0, state="failed", val_score=None), trial(1, state="stopped")])
    with pytest.raises(NoCompletedTrial, match="no completed search trial among 2 runs"):
        choose(table)
    with pytest.raises(ValueError):
        choose(TRIALS.empty_table())
    result = rank(table, TESTS.empty_table())
    (row,) = result.table.to_pylist()
    assert (row["status"], row["reason"]) == ("insufficient", "no search trial completed")
    assert row["chosen_number"] is row["score"] is row["rank"] is None
    assert (row["num_trials"], row["num_stopped"], row["num_failed"]) == (2, 1, 1)
    assert result.verdicts[0].leaders == ()
    assert result.verdicts[0].sentences[0].startswith("No backbone")


def test_chance_is_carried_through() -> None:
    assert set(rank(*small_world().tables()).table["chance"].to_pylist()) == {CHANCE}
