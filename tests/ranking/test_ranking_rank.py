"""The ranking as a whole, on small synthetic sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import CHANCE, Model, World, random_models

from orchestrator.ranking import Ranking, RankingOptions, rank
from orchestrator.records import TESTS, TRIALS

OWN = (
    *("score", "ci_low", "ci_high", "quality", "quality_sd", "ease", "chosen_number"),
    *("confirmation_mean", "confirmation_sd", "cost_s", "run_cost_s"),
)


def by_name(ranking: Ranking) -> dict[str, dict[str, Any]]:
    return {row["backbone"]: row for row in ranking.table.to_pylist()}


def only(table: pa.Table, schema: pa.Schema, backbones: set[str]) -> pa.Table:
    kept = [row for row in table.to_pylist() if row["study"].split(":")[1] in backbones]
    return pa.Table.from_pylist(kept, schema=schema)


def edit(table: pa.Table, schema: pa.Schema, change: Any) -> pa.Table:
    """`change` returns the row's new fields, or None to drop it."""
    edited = [(row, change(row)) for row in table.to_pylist()]
    return pa.Table.from_pylist([row | new for row, new in edited if new is not None], schema=schema)


@pytest.fixture(scope="module")
def sweep() -> tuple[pa.Table, pa.Table]:
    return World(models=random_models(4, np.random.default_rng(7)), seed=7, stopped=0.1).tables()


@pytest.fixture(scope="module")
def whole(sweep: tuple[pa.Table, pa.Table]) -> Ranking:
    return rank(*sweep)


def test_irrelevant_alternatives_move_nobody(sweep: tuple[pa.Table, pa.Table], whole: Ranking) -> None:
    """Dropping any backbone leaves every other one's own numbers as they were, to the bit."""
    trials, tests = sweep
    everyone = by_name(whole)
    for left_out in everyone:
        rest = set(everyone) - {left_out}
        fewer = by_name(rank(only(trials, TRIALS, rest), only(tests, TESTS, rest)))
        for name in rest:
            assert {key: fewer[name][key] for key in OWN} == {key: everyone[name][key] for key in OWN}


def test_order_survives_a_much_worse_third() -> None:
    """The flip that z-scores and min-max scaling make on A, B and a bad C does not happen here."""
    models = {"a": Model(best=0.88), "b": Model(best=0.86)}
    two = by_name(rank(*World(models=models, seed=2).tables()))
    three = by_name(rank(*World(models=models | {"c": Model(best=0.2)}, seed=2).tables()))
    for name in models:
        assert {key: three[name][key] for key in OWN} == {key: two[name][key] for key in OWN}
    assert three["c"]["rank"] == 3


def test_a_clear_winner_is_alone_on_top() -> None:
    models = {"good": Model(best=0.93), "fair": Model(best=0.80), "poor": Model(best=0.65)}
    ranking = rank(*World(models=models, num_test=3000, num_random=10, num_tpe=6, seed=3).tables())
    rows = by_name(ranking)
    assert [(rows[n]["rank_low"], rows[n]["rank_high"]) for n in models] == [(1, 1), (2, 2), (3, 3)]
    assert not rows["fair"]["tied_with_leader"]
    assert rows["good"]["p_best"] > 0.99
    assert all(pair["distinguishable"] and pair["ci_low"] > 0 for pair in ranking.pairs.to_pylist())
    (verdict,) = ranking.verdicts
    assert verdict.leaders == ("good",)
    assert verdict.num_test_needed is None
    assert verdict.sentences[0] == "good is the best of 3 backbones at 95% confidence."


def test_twins_share_everything(sweep: tuple[pa.Table, pa.Table]) -> None:
    """The same runs under two names: equal scores, shared rank, nothing told apart."""
    trials, tests = (only(table, schema, {"m0"}) for table, schema in zip(sweep, (TRIALS, TESTS), strict=True))
    copy = {"study": "t:twin"}
    twins = rank(
        pa.concat_tables([trials, edit(trials, TRIALS, lambda row: copy | {"backbone": "twin"})]),
        pa.concat_tables([tests, edit(tests, TESTS, lambda row: copy)]),
    )
    one, other = twins.table.to_pylist()
    assert (one["rank"], other["rank"]) == (1, 1)
    assert one["score"] == other["score"]
    assert (one["rank_low"], one["rank_high"], other["rank_low"], other["rank_high"]) == (1, 2, 1, 2)
    assert other["tied_with_leader"]
    assert one["p_best"] == pytest.approx(0.5, abs=0.02)
    (pair,) = twins.pairs.to_pylist()
    assert (pair["difference"], pair["p_a_beats_b"], pair["distinguishable"]) == (0.0, 0.5, False)
    assert 0 < pair["p_tied"] < 1
    assert twins.verdicts[0].leaders == ("m0", "twin")
    assert twins.verdicts[0].num_test_needed is None


def test_equal_models_overlap() -> None:
    models = {name: Model() for name in "abcd"}
    rows = by_name(rank(*World(models=models, seed=11).tables()))
    assert all((row["rank_low"], row["rank_high"]) == (1, 4) for row in rows.values())


def test_too_small_a_budget_says_so() -> None:
    """Equal models at first; then one that found better, while both may have better left to find."""
    (verdict,) = rank(*World(models=dict.fromkeys("abcd", Model()), seed=11).tables()).verdicts
    assert verdict.sentences[0] == (
        "Too little was measured to tell any of the 4 backbones apart: their order is a guess."
    )
    assert verdict.num_test_needed or verdict.num_seeds_needed or verdict.num_trials_needed or verdict.times_needed
    models = {"a": Model(best=0.88), "b": Model(best=0.82)}
    few = World(models=models, seed=4, num_random=3, num_tpe=0, num_test=20_000)
    (verdict,) = rank(*few.tables(), options=RankingOptions(confidence=0.999)).verdicts
    assert verdict.sentences[:2] == (
        "Too little was tuned to tell any of the 2 backbones apart.",
        "Of the configurations that were found, that of a may be the best.",
    )
    assert verdict.limit == "unfinished tuning"


def test_a_single_backbone() -> None:
    ranking = rank(*World(models={"a": Model()}).tables())
    (row,) = ranking.table.to_pylist()
    places = ("rank", "rank_low", "rank_high", "found_rank_low", "found_rank_high", "p_best")
    assert [row[name] for name in places] == [1] * 6
    assert row["tied_with_leader"]
    assert ranking.pairs.num_rows == 0
    (verdict,) = ranking.verdicts
    assert (verdict.leaders, verdict.min_detectable_gap) == (("a",), None)
    assert verdict.limit is not None


def test_a_backbone_at_chance_scores_about_zero() -> None:
    models = {"dead": Model(best=CHANCE), "alive": Model()}
    rows = by_name(rank(*World(models=models).tables()))
    assert rows["dead"]["score"] == pytest.approx(0.0, abs=0.03)
    assert rows["dead"]["rank_low"] == 2


def test_perfect_and_hopeless_test_scores_do_not_break_it(sweep: tuple[pa.Table, pa.Table]) -> None:
    """No variance between examples or seeds anywhere."""
    for level in (0.0, 1.0):
        full = np.packbits(np.full(1000, bool(level))).tobytes()
        flat = {"test_score": level, "correct": full}
        rows = by_name(rank(sweep[0], edit(sweep[1], TESTS, lambda row, flat=flat: flat)))
        for row in rows.values():
            assert row["quality"] == pytest.approx(max((level - CHANCE) / (1 - CHANCE), -0.2), abs=2e-3)
            assert (row["rank_low"], row["rank_high"]) == (1, 4)


def test_too_little_evidence_keeps_its_row() -> None:
    trials, tests = World(models=random_models(4, np.random.default_rng(7)), seed=7).tables()

    def starve(row: dict[str, Any]) -> dict[str, Any]:
        if row["backbone"] == "m1" and row["phase"] == "tpe":
            return {"state": "stopped"}
        if row["backbone"] == "m1" and row["phase"] == "random" and row["number"] > 1:
            return {"state": "failed", "val_score": None}
        if row["backbone"] == "m2" and row["phase"] == "confirmation" and row["number"] > 8:
            return {"state": "failed", "val_score": None, "error": "out of memory"}
        return {}

    ranking = rank(edit(trials, TRIALS, starve), tests)
    rows = by_name(ranking)
    assert [row["backbone"] for row in ranking.table.to_pylist()][2:] == ["m1", "m2"]
    assert rows["m1"]["reason"].startswith("2 completed search trials, at least 3")
    assert "1 usable confirmations" in rows["m2"]["reason"]
    assert rows["m2"]["num_confirmations_lost"] == 2
    for name in ("m1", "m2"):
        assert rows[name]["status"] == "insufficient"
        assert all(rows[name][key] is None for key in ("rank", "rank_low", "score", "p_best", "ease"))
    assert {rows["m0"]["rank"], rows["m3"]["rank"]} == {1, 2}
    assert ranking.verdicts[0].insufficient == ("m1", "m2")
    assert ranking.pairs.num_rows == 1


def test_a_collapsed_confirmation_is_counted_and_left_out(sweep: tuple[pa.Table, pa.Table], whole: Ranking) -> None:
    trials, tests = sweep
    fallen = np.packbits(np.arange(1000) < 300).tobytes()
    last = {"test_score": 0.3, "test_accuracy": 0.3, "correct": fallen}
    hit = edit(tests, TESTS, lambda row: last if (row["study"], row["number"]) == ("t:m0", 10) else {})
    before, after = by_name(whole)["m0"], by_name(rank(trials, hit))["m0"]
    assert (before["num_collapsed"], after["num_collapsed"], after["num_confirmations"]) == (0, 1, 3)
    assert after["confirmation_mean"] > 0.7
    assert after["quality"] == pytest.approx(before["quality"], abs=0.01)


def test_failed_trials_change_no_score(sweep: tuple[pa.Table, pa.Table], whole: Ranking) -> None:
    trials, tests = sweep
    first = trials.to_pylist()[0]
    failed = first | {"number": 50, "state": "failed", "phase": "tpe", "val_score": 0.999, "duration_s": None}
    more = pa.concat_tables([trials, pa.Table.from_pylist([failed], schema=TRIALS)])
    before, after = by_name(whole), by_name(rank(more, tests))
    name = first["backbone"]
    assert {key: after[name][key] for key in OWN} == {key: before[name][key] for key in OWN}
    assert after[name]["num_failed"] == before[name]["num_failed"] + 1


def test_missing_test_rows_of_search_trials_are_tolerated(sweep: tuple[pa.Table, pa.Table], whole: Ranking) -> None:
    trials, tests = sweep
    full = by_name(whole)
    for first in (4, 8):  # some, and all, of the search trials' test rows
        fewer = by_name(rank(trials, edit(tests, TESTS, lambda row, n=first: {} if row["number"] >= n else None)))
        for name, row in fewer.items():
            assert row["status"] == "ranked"
            assert row["score"] == pytest.approx(full[name]["score"], abs=0.03)


def test_a_validation_score_that_stands_in_is_a_score(sweep: tuple[pa.Table, pa.Table]) -> None:
    """Confirmations far better on test than on validation would shift it above 1."""
    trials, tests = sweep
    high = edit(trials, TRIALS, lambda row: {"val_score": 0.95 if row["number"] < 8 else 0.5})
    row = by_name(rank(high, edit(tests, TESTS, lambda row: {} if row["number"] >= 8 else None)))["m0"]
    assert row["status"] == "ranked"
    assert 0 < row["quality"] <= 1


def test_stale_confirmations_are_ranked_as_what_they_are(sweep: tuple[pa.Table, pa.Table], whole: Ranking) -> None:
    """A later trial that looks best was never confirmed: the claim stays with the configuration that was."""
    trials, tests = sweep
    old = by_name(whole)["m0"]
    donor = next(row for row in trials.to_pylist() if row["number"] == old["chosen_number"])
    late = donor | {"study": "t:m0", "backbone": "m0", "number": 60, "phase": "tpe"}
    late |= {"learning_rate": 3e-4, "freeze_depth": 1, "freeze_frac": 0.125, "val_score": 0.99}
    more = pa.concat_tables([trials, pa.Table.from_pylist([late], schema=TRIALS)])
    new = by_name(rank(more, tests))["m0"]
    assert new["chosen_number"] == old["chosen_number"]
    assert new["confirmation_mean"] == old["confirmation_mean"]


def test_confirmations_of_another_configuration_are_not_lost(sweep: tuple[pa.Table, pa.Table]) -> None:
    trials, tests = sweep
    other = edit(trials, TRIALS, lambda row: {"weight_decay": 0.5} if row["number"] == 10 else {})
    row = by_name(rank(other, tests))["m0"]
    assert (row["num_confirmations"], row["num_confirmations_lost"]) == (2, 0)


def test_macro_f1_is_ranked_with_a_wider_test_set_part(sweep: tuple[pa.Table, pa.Table], whole: Ranking) -> None:
    trials, tests = sweep
    named = edit(tests, TESTS, lambda row: {"metric": "f1_macro"})
    accuracy, macro = by_name(whole), by_name(rank(trials, named))
    for name, row in macro.items():
        assert row["test_metric"] == "f1_macro"
        assert row["score"] == accuracy[name]["score"]
        assert row["ci_high"] - row["ci_low"] > accuracy[name]["ci_high"] - accuracy[name]["ci_low"]


def test_weights_budget_and_what_was_not_measured() -> None:
    world = World(models={"a": Model(), "b": Model()}, num_tpe=3)
    trials, tests = world.tables()
    (verdict,) = rank(trials, tests).verdicts
    assert verdict.measured == ("quality", "ease")
    assert verdict.unmeasured == ("data_efficiency", "robustness")
    assert (verdict.budget, verdict.equal_budget) == ((("a", 8), ("b", 8)), True)
    only_quality = rank(trials, tests, options=RankingOptions(weights={"quality": 1.0}))
    assert only_quality.verdicts[0].unmeasured == ()
    for row in only_quality.table.to_pylist():
        assert row["score"] == row["quality"]
    fewer = edit(trials, TRIALS, lambda row: None if (row["backbone"], row["number"]) == ("a", 0) else {})
    kept = edit(tests, TESTS, lambda row: None if (row["study"], row["number"]) == ("t:a", 0) else {})
    (verdict,) = rank(fewer, kept).verdicts
    assert (verdict.budget[0], verdict.equal_budget) == (("a", 7), False)
    assert any("Budgets differ (7 to 8 trials)" in line for line in verdict.sentences)


def test_costs_are_sums_of_wall_time(sweep: tuple[pa.Table, pa.Table], whole: Ranking) -> None:
    rows = by_name(whole)
    assert rows["m0"]["cost_s"] == pytest.approx(110.0)  # 8 trials and 3 confirmations of 10 s
    assert rows["m0"]["run_cost_s"] == pytest.approx(10.0)
    unknown = by_name(rank(edit(sweep[0], TRIALS, lambda row: {"duration_s": None}), sweep[1]))
    assert unknown["m0"]["cost_s"] is unknown["m0"]["run_cost_s"] is None


def test_p_best_sums_to_one_and_pairs_are_oriented(whole: Ranking) -> None:
    assert sum(row["p_best"] for row in whole.table.to_pylist()) == pytest.approx(1.0)
    for pair in whole.pairs.to_pylist():
        assert pair["difference"] >= 0
        assert pair["p_a_beats_b"] >= 0.5
        assert pair["ci_low"] <= pair["difference"] <= pair["ci_high"]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 4),
    stopped=st.sampled_from([0.0, 0.3, 0.9]),
    collapse=st.sampled_from([0.0, 0.5]),
    num_test=st.sampled_from([7, 60, 1000]),
)
def test_tiny_budgets_never_break_it(seed: int, count: int, stopped: float, collapse: float, num_test: int) -> None:
    world = World(
        models=random_models(count, np.random.default_rng(seed), 0.3),
        seed=seed,
        stopped=stopped,
        collapse=collapse,
        num_test=num_test,
        num_val=20,
    )
    ranking = rank(*world.tables())
    ranked = [row for row in ranking.table.to_pylist() if row["status"] == "ranked"]
    assert ranking.table.num_rows == count
    assert [row["rank"] for row in ranked] == sorted(row["rank"] for row in ranked)
    assert all(row["reason"] for row in ranking.table.to_pylist() if row["status"] == "insufficient")
    assert all(np.isfinite(row[key]) for row in ranked for key in OWN)
