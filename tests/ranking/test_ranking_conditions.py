"""Four conditions: by hand, what is dropped for all alike, and whether the intervals hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stressed import StressedWorld
from world import CHANCE, Model, on_regression, random_models, results_table, trial, trials_table

from orchestrator.ranking import PRESETS, InvalidTable, Ranking, RankingOptions, rank
from orchestrator.ranking.conditions import joint_examples, measured, score_under
from orchestrator.ranking.options import COMPONENTS
from orchestrator.ranking.score import gather
from orchestrator.ranking.stability import weight_stability
from orchestrator.ranking.study import read_studies
from orchestrator.records import TESTS, TRIALS

Tables = tuple[pa.Table, pa.Table]
OWN = (
    *("score", "ci_low", "ci_high", "quality", "quality_sd", "ease"),
    *("data_efficiency", "data_efficiency_sd", "robustness", "robustness_sd"),
)
SHARES = dict(PRESETS["default"])


def by_name(ranking: Ranking) -> dict[str, dict[str, Any]]:
    return {row["backbone"]: row for row in ranking.table.to_pylist()}


def edit(tables: Tables, change: Any, change_test: Any = lambda row: {}) -> Tables:
    """Both return the row's new fields, or None to drop it."""
    trials = [(row, change(row)) for row in tables[0].to_pylist()]
    kept = {(row["study"], row["number"]) for row, new in trials if new is not None}
    tests = [(row, change_test(row)) for row in tables[1].to_pylist() if (row["study"], row["number"]) in kept]
    return (
        pa.Table.from_pylist([row | new for row, new in trials if new is not None], schema=TRIALS),
        pa.Table.from_pylist([row | new for row, new in tests], schema=TESTS),
    )


@pytest.fixture(scope="module")
def sweep() -> Tables:
    return StressedWorld(models=random_models(3, np.random.default_rng(7)), seed=7).tables()


def test_components_are_means_of_normalised_scores(sweep: Tables) -> None:
    trials, tests = sweep
    scores = {(row["study"], row["number"]): row for row in tests.to_pylist()}

    def mean(numbers: list[int], column: str) -> float:
        return float(np.mean([(scores["t:m1", number][column] - CHANCE) / (1 - CHANCE) for number in numbers]))

    row = by_name(rank(trials, tests))["m1"]
    few = [mean([100, 101], "test_score"), mean([102, 103], "test_score")]
    assert row["data_efficiency"] == pytest.approx(np.mean([row["quality"], *few]))
    assert row["robustness"] == pytest.approx(mean([8, 9, 10], "perturbed_score"))
    assert row["score"] == pytest.approx(sum(SHARES[name] * row[name] for name in COMPONENTS))
    assert row["robustness"] < row["data_efficiency"] < row["quality"]


def test_reduced_runs_are_no_part_of_the_search(sweep: Tables) -> None:
    with_them = by_name(rank(*sweep, options=RankingOptions(weights={"quality": 1.0, "ease": 1.0})))
    without = edit(sweep, lambda row: None if row["phase"] == "reduced" else {})
    for name, row in by_name(rank(*without, options=RankingOptions(weights={"quality": 1.0, "ease": 1.0}))).items():
        assert row["num_trials"] == with_them[name]["num_trials"] == 8
        for key in ("score", "quality", "ease", "chosen_number", "ci_low", "confirmation_mean"):
            assert row[key] == with_them[name][key]


def test_adding_or_dropping_a_backbone_moves_no_component_of_another(sweep: Tables) -> None:
    everyone = by_name(rank(*sweep))
    for left_out in everyone:
        fewer = by_name(rank(*edit(sweep, lambda row, out=left_out: None if row["backbone"] == out else {})))
        assert set(fewer) == set(everyone) - {left_out}
        for name, row in fewer.items():
            assert {key: row[key] for key in OWN} == {key: everyone[name][key] for key in OWN}


def test_what_one_lacks_is_in_nobodys_score(sweep: Tables) -> None:
    """m0 has no reduced run, m2 was not perturbed."""

    def bare(row: dict[str, Any]) -> dict[str, Any]:
        unmeasured = {"perturbed_score": None, "perturbed_example_scores": None}
        return unmeasured if row["study"] == "t:m2" else {}

    lacking = edit(sweep, lambda row: None if (row["backbone"], row["phase"]) == ("m0", "reduced") else {}, bare)
    ranking = rank(*lacking)
    (verdict,) = ranking.verdicts
    assert verdict.measured == ("quality", "ease")
    assert verdict.unmeasured == ("data_efficiency", "robustness")
    assert verdict.lacking == {"data_efficiency": ("m0",), "robustness": ("m2",)}
    assert "robustness is in nobody's score, because it was not measured alike for m2." in verdict.sentences
    for row in ranking.table.to_pylist():
        assert row["score"] == pytest.approx(0.75 * row["quality"] + 0.25 * row["ease"])
    assert by_name(ranking)["m0"]["robustness"] is not None, "shown, though it counts for nobody"


def test_shares_of_the_training_set_that_not_all_have_do_not_count(sweep: Tables) -> None:
    fewer = edit(sweep, lambda row: None if (row["backbone"], row["train_frac"]) == ("m0", 0.1) else {})
    (verdict,) = rank(*fewer).verdicts
    assert verdict.train_fracs == (0.3,)
    assert "data_efficiency is the mean over 30% and 100% of the training set." in verdict.sentences
    disjoint = edit(fewer, lambda row: None if (row["backbone"], row["train_frac"]) == ("m1", 0.3) else {})
    (verdict,) = rank(*disjoint).verdicts
    assert (verdict.train_fracs, verdict.lacking) == ((), {"data_efficiency": ("m0", "m1", "m2")})


def test_reduced_runs_of_another_configuration_do_not_count(sweep: Tables) -> None:
    other = edit(sweep, lambda row: {"weight_decay": 0.5} if row["phase"] == "reduced" else {})
    (verdict,) = rank(*other).verdicts
    assert (verdict.unmeasured, verdict.lacking) == (("data_efficiency",), {})


def test_a_regression_that_blew_up_on_few_labels_is_poor_and_no_worse(sweep: Tables) -> None:
    def as_r2(row: dict[str, Any]) -> dict[str, Any]:
        answers = np.unpackbits(np.frombuffer(row["correct"], np.uint8), count=row["num_test"])
        return {"metric": "r2", "chance": 0.0, "correct": None, "example_scores": answers.astype(float).tolist()}

    def blown(row: dict[str, Any]) -> dict[str, Any]:
        fallen = {"test_score": -3000.0, "example_scores": np.linspace(-6000.0, 0.0, 1000).tolist()}
        return fallen if (row["study"], row["number"]) == ("t:m0", 100) else {}

    whole = edit(sweep, lambda row: {"metric": "r2"}, as_r2)
    before, after = rank(*whole), rank(*edit(whole, lambda row: {}, blown))
    assert by_name(after)["m0"]["data_efficiency"] < by_name(before)["m0"]["data_efficiency"] - 0.1
    widths = [[pair["ci_high"] - pair["ci_low"] for pair in ranking.pairs.to_pylist()] for ranking in (before, after)]
    assert max(widths[1]) < 2 * max(widths[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(sweep: Tables, preset: str) -> None:
    ranking = rank(*sweep, options=RankingOptions(weights=PRESETS[preset]))
    for row in ranking.table.to_pylist():
        assert row["score"] == pytest.approx(sum(PRESETS[preset][name] * row[name] for name in COMPONENTS))
    measured_names = tuple(name for name in COMPONENTS if PRESETS[preset][name] > 0)
    assert ranking.verdicts[0].measured == measured_names


def test_nothing_weighted_was_measured_leaves_quality() -> None:
    world = StressedWorld(models={"a": Model(), "b": Model()}, num_perturbed=0, train_fracs=())
    ranking = rank(*world.tables(), options=RankingOptions(weights={"robustness": 1.0}))
    assert all(row["score"] == row["quality"] for row in ranking.table.to_pylist())
    (verdict,) = ranking.verdicts
    assert "Not measured: robustness. The score is made of quality alone." in verdict.sentences


def test_the_examples_part_bounds_every_comparison(sweep: Tables) -> None:
    """Against knowing which test samples were perturbed, for contrasts of all kinds."""
    evidence = [gather(study) for study in read_studies(*sweep)]
    have = measured(evidence)
    scored = [score_under(item, SHARES, have.train_fracs, 0) for item in evidence]
    own, joint = joint_examples(scored)
    few = np.random.default_rng(7).permutation(1000)[:200]  # as the world drew them
    added = []
    for item in scored:
        loads = sum(part.weight * part.means for part in item.clean) / 1000
        loads[few] += item.perturbed[0].weight * item.perturbed[0].means / 200
        added.append((loads - loads.mean()) / (1 - CHANCE))
    exact = 1000 / 999 * np.array(added) @ np.array(added).T
    rng = np.random.default_rng(0)
    for contrast in [*np.eye(3), *rng.standard_normal((50, 3)), np.array([1, -1, 0]), np.array([0, 1, -1])]:
        assert contrast @ joint @ contrast >= 0.75 * (contrast @ exact @ contrast)  # noise of runs is taken out
    assert np.all(own <= np.diag(joint) + 1e-12)
    assert np.all(own < 1.6 * np.diag(exact))


def test_perturbed_columns_are_checked() -> None:
    runs = [trial(number) for number in range(2)]
    half = on_regression(0, scores=[0.5] * 4) | {"perturbed_score": 0.4}
    with pytest.raises(InvalidTable, match="perturbed"):
        rank(trials_table(runs), results_table([half]))
    sizes = [
        on_regression(number, scores=[0.5] * 4) | {"perturbed_score": 0.4, "perturbed_example_scores": [0.4] * size}
        for number, size in enumerate((2, 3))
    ]
    with pytest.raises(InvalidTable, match="perturbed"):
        rank(trials_table(runs), results_table(sizes))
    for phase, frac in (("random", 0.5), ("reduced", 1.0), ("reduced", 0.0)):
        with pytest.raises(InvalidTable, match=r"train_frac is"):
            rank(trials_table([trial(0, phase=phase, train_frac=frac)]), TESTS.empty_table())


def test_intervals_hold_under_four_conditions() -> None:
    """What was found, against known truth: all pairs of a world at once, and each score by itself."""
    wrong, inside = 0, []
    for seed in range(6):
        world = StressedWorld(models=random_models(3, np.random.default_rng([31, seed])), seed=seed)
        ranking = rank(*world.tables())
        truth = {name: world.true_found(name, SHARES) for name in world.models}
        (scores,) = ranking.scores
        order = [truth[name] for name in scores.backbones]
        for row in ranking.table.to_pylist():
            better = sum(value > truth[row["backbone"]] for value in order)
            wrong += not row["found_rank_low"] <= 1 + better <= row["found_rank_high"]
            inside.append(row["ci_low"] <= truth[row["backbone"]] <= row["ci_high"])
    assert wrong <= 2
    assert np.mean(inside) >= 0.8  # nominal 0.95, 18 scores of 6 worlds


# Weights


def test_weight_stability_by_hand() -> None:
    """Two components of equal weight, and two backbones that are each other's mirror image."""
    even = {"quality": 0.5, "ease": 0.5, "data_efficiency": 0.0, "robustness": 0.0}
    left = {"quality": 0.9, "ease": 0.5, "data_efficiency": 0.0, "robustness": 0.0}
    right = {"quality": 0.5, "ease": 0.9, "data_efficiency": 0.0, "robustness": 0.0}
    assert weight_stability([left, right], even, 0) == pytest.approx([0.5, 0.5], abs=0.03)
    assert weight_stability([left, left], even, 0) == pytest.approx([0.5, 0.5])
    assert weight_stability([left, right], {**even, "quality": 1.0, "ease": 0.0}, 0).tolist() == [1.0, 0.0]
    assert weight_stability([left, {**left, "robustness": 1.0}], even, 0) == pytest.approx([0.5, 0.5])
    assert weight_stability([], even, 0).shape == (0,)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5))
def test_who_is_better_under_all_conditions_is_first_whatever_the_weights(values: list[list[float]]) -> None:
    rows = [dict(zip(COMPONENTS, of_one, strict=True)) for of_one in values]
    best = dict.fromkeys(COMPONENTS, 1.5)
    stability = weight_stability([*rows, best], SHARES, 3)
    assert stability.sum() == pytest.approx(1.0)
    assert stability[-1] == 1.0


def test_a_first_place_that_is_owed_to_the_weights_is_said(sweep: Tables) -> None:
    ranking = rank(*sweep)
    first = ranking.table.to_pylist()[0]
    (verdict,) = ranking.verdicts
    assert verdict.weight_stability == first["weight_stability"]
    said = any("depends on the weights" in line for line in verdict.sentences)
    assert said == (first["weight_stability"] < 0.9)
    assert sum(row["weight_stability"] for row in ranking.table.to_pylist()) == pytest.approx(1.0)
