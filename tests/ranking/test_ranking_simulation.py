"""Against known truth: do the intervals hold, and is the smoothed choice worth having?"""

from __future__ import annotations

import numpy as np
import pytest
from world import World, random_models

from orchestrator.ranking import rank

NUM_WORLDS = 16
NUM_MODELS = 4


@pytest.mark.slow
def test_rank_intervals_hold_and_choosing_costs_no_more_than_max_validation() -> None:
    """8 trials and 3 confirmations each, as small as a sweep gets."""
    covered, own, gaps, regrets = [], [], [], []
    for seed in range(NUM_WORLDS):
        models = random_models(NUM_MODELS, np.random.default_rng([17, seed]))
        world = World(models=models, seed=seed, stopped=0.1)
        rows = [row for row in rank(*world.tables()).table.to_pylist() if row["status"] == "ranked"]
        truth = {row["backbone"]: world.true_score(row["backbone"]) for row in rows}
        true_rank = {name: 1 + sum(other > value for other in truth.values()) for name, value in truth.items()}
        covered.append(all(r["rank_low"] <= true_rank[r["backbone"]] <= r["rank_high"] for r in rows))
        own += [row["ci_low"] <= truth[row["backbone"]] <= row["ci_high"] for row in rows]
        gaps += [row["score"] - truth[row["backbone"]] for row in rows]
        usual = World(models=models, seed=seed, stopped=0.1, maximise_validation=True)
        usual.tables()
        both = world.chosen.keys() & usual.chosen.keys()
        regrets += [usual.true_accuracy(name) - world.true_accuracy(name) for name in both]
    # Nominal 0.95; 2.6 standard errors of slack.
    assert np.mean(covered) >= 0.95 - 2.6 * (0.05 * 0.95 / NUM_WORLDS) ** 0.5
    assert np.mean(own) >= 0.90
    assert abs(np.mean(gaps)) < 0.015
    # The choice: no worse than the plain maximum, within two standard errors.
    assert np.mean(regrets) <= 2 * np.std(regrets) / len(regrets) ** 0.5


@pytest.mark.slow
def test_a_regression_is_ranked_as_well() -> None:
    """The same world with R2 for accuracy, whose best are further apart; some runs blow up."""
    covered, own, gaps, right = [], [], [], 0
    for seed in range(NUM_WORLDS // 2):
        models = random_models(NUM_MODELS, np.random.default_rng([29, seed]), spread=0.3)
        world = World(models=models, seed=seed, stopped=0.1, metric="r2")
        trials, tests = world.tables()
        result = rank(trials, tests)
        rows = [row for row in result.table.to_pylist() if row["status"] == "ranked"]
        truth = {row["backbone"]: world.true_score(row["backbone"]) for row in rows}
        true_rank = {name: 1 + sum(other > value for other in truth.values()) for name, value in truth.items()}
        covered.append(all(r["rank_low"] <= true_rank[r["backbone"]] <= r["rank_high"] for r in rows))
        own += [row["ci_low"] <= truth[row["backbone"]] <= row["ci_high"] for row in rows]
        gaps += [row["score"] - truth[row["backbone"]] for row in rows]
        best = max(truth.values())
        right += best - truth[rows[0]["backbone"]] < 0.02
        assert {(row["chance"], row["test_metric"]) for row in rows} == {(0.0, "r2")}
    assert np.mean(covered) >= 0.9
    assert np.mean(own) >= 0.90
    assert abs(np.mean(gaps)) < 0.02
    assert right >= 0.9 * (NUM_WORLDS // 2)


@pytest.mark.slow
def test_exactly_equal_backbones_are_seldom_told_apart() -> None:
    """Four copies of one surface, so that every distinction is an error: at most 5 % of worlds, nominally."""
    wrong = 0
    for seed in range(NUM_WORLDS):
        shape = random_models(1, np.random.default_rng([23, seed]))["m0"]
        world = World(models=dict.fromkeys("abcd", shape), seed=seed)
        wrong += any(rank(*world.tables()).pairs["distinguishable"].to_pylist())
    assert wrong <= 3  # P(more than 3 of 16 at 5 %) = 0.007
