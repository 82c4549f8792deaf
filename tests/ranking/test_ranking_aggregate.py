"""Several tasks: every aggregator by hand, what depends on whom, and what is never averaged away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, trim_mean
from world import Model, World

from orchestrator.ranking import PAIRS, Aggregate, Ranking, RankingOptions, aggregate, rank, rank_scores
from orchestrator.ranking.aggregate import TooFewTasks, panel
from orchestrator.ranking.aggregators import (
    AGGREGATORS,
    anchored_mean,
    bradley_terry,
    interquartile_mean,
    mean_rank,
    mean_z_score,
)
from orchestrator.ranking.claims import TaskScores
from orchestrator.ranking.schema import AGGREGATE

A, B, C = (0.90, 0.70), (0.88, 0.73), (0.875, 0.20)


def matrix(*backbones: Sequence[float]) -> np.ndarray:
    """Shape (tasks, backbones)."""
    return np.array(backbones).T


def table(scores: dict[str, dict[str, list[float]]]) -> Ranking:
    """task -> backbone -> scores by seed."""
    rows = [
        {"task": task, "backbone": name, "seed": seed, "score": score, "chance": 0.0}
        for task, of_task in scores.items()
        for name, runs in of_task.items()
        for seed, score in enumerate(runs)
    ]
    return rank_scores(pa.Table.from_pylist(rows))


def by_name(found: Aggregate) -> dict[str, dict[str, Any]]:
    return {row["backbone"]: row for row in found.table.to_pylist()}


def test_an_irrelevant_alternative_turns_others_round_but_not_the_anchored_mean() -> None:
    two, three = matrix(A, B), matrix(A, B, C)
    assert anchored_mean(two) == pytest.approx([0.80, 0.805])
    assert anchored_mean(three)[:2] == pytest.approx(anchored_mean(two))
    # Two backbones that win one task each are equal by z-score; a third, worse than both, puts A ahead of B.
    assert mean_z_score(two) == pytest.approx([0.0, 0.0])
    after = mean_z_score(three)
    assert after[0] > after[1] + 0.05
    assert after[2] < after[1]


def test_z_scores_and_ranks_by_hand() -> None:
    scores = np.array([[0.5, 0.7, 0.9], [0.6, 0.6, 0.6]])
    assert mean_z_score(scores) == pytest.approx(np.array([-(1.5**0.5), 0.0, 1.5**0.5]) / 2)
    assert mean_rank(scores) == pytest.approx([(3 + 2) / 2, (2 + 2) / 2, (1 + 2) / 2])
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = rng.integers(0, 5, (rng.integers(1, 12), 6)).astype(float)
        assert mean_rank(drawn) == pytest.approx(rankdata(-drawn, axis=1).mean(axis=0))
        assert interquartile_mean(drawn) == pytest.approx(trim_mean(drawn, 0.25, axis=0))
    eight = np.arange(8.0)[:, None] * np.ones(2)
    eight[7, 1] = 1000.0
    assert interquartile_mean(eight) == pytest.approx([3.5, 3.5])


def test_bradley_terry_is_the_maximum_of_its_likelihood() -> None:
    """Of two backbones the odds are the wins: 3 of 4 tasks, and the ridge takes a little off."""
    scores = np.array([[0.9, 0.8], [0.9, 0.8], [0.9, 0.8], [0.7, 0.8]])
    strengths = bradley_terry(scores)
    assert strengths[0] - strengths[1] == pytest.approx(np.log(3), rel=0.05)
    assert strengths.sum() == pytest.approx(0.0)
    always = bradley_terry(np.array([[0.9, 0.8, 0.7]] * 3))
    assert np.isfinite(always).all()
    assert np.all(np.diff(always) < -1)
    assert bradley_terry(np.full((3, 4), 0.5)) == pytest.approx(np.zeros(4), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.lists(st.integers(0, 20), min_size=4, max_size=4), min_size=2, max_size=6),
    order=st.permutations(range(4)),
)
def test_aggregators_do_not_see_names_nor_the_order_of_tasks(values: list[list[int]], order: list[int]) -> None:
    scores = np.array(values) / 20
    for name, method in AGGREGATORS.items():
        assert method(scores[:, order]) == pytest.approx(method(scores)[order], abs=1e-3), name
        assert method(scores[::-1]) == pytest.approx(method(scores), abs=1e-3), name


@settings(max_examples=30, deadline=None)
@given(scores=st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3), min_size=2, max_size=5))
def test_who_is_nowhere_worse_is_nowhere_behind(scores: list[list[int]]) -> None:
    values = np.array(scores) / 20
    better = np.column_stack([values, values.max(axis=1) + 0.01])
    for name, method in AGGREGATORS.items():
        found = -method(better) if name == "mean_rank" else method(better)
        assert np.argmax(found) == 3, name


def test_the_panel_is_the_mean_and_sum_of_covariances_over_d_squared() -> None:
    def task(name: str, backbones: tuple[str, ...], scores: list[float], scale: float) -> TaskScores:
        count = len(scores)
        covariance = scale * (np.eye(count) + 0.5)
        return TaskScores(
            task=name,
            backbones=backbones,
            scores=np.array(scores),
            seed_variances=np.full(count, 2 * scale),
            own_examples=np.diag(covariance).copy(),
            examples=covariance,
            regret_squares=np.full(count, 4 * scale),
        )

    tasks = [task("s", ("b", "a", "c"), [0.9, 0.8, 0.1], 1e-4), task("t", ("a", "b"), [0.8, 0.6], 3e-4)]
    found = panel(tasks, ("a", "b"))
    assert found.backbones == ("a", "b")
    assert found.scores == pytest.approx([0.8, 0.75])
    assert found.seed_variances == pytest.approx([2e-4] * 2)
    assert found.examples == pytest.approx(np.array([[1.5e-4, 0.5e-4], [0.5e-4, 1.5e-4]]))
    assert found.own_examples == pytest.approx([1.5e-4] * 2)
    # Half-normals of rms 0.02 and 0.0346: the mean square of half their sum, by simulation.
    normal = np.abs(np.random.default_rng(0).standard_normal((400_000, 2))) * np.sqrt([4e-4, 12e-4])
    assert found.regret_squares == pytest.approx([np.mean((normal.sum(axis=1) / 2) ** 2)] * 2, rel=0.02)


def test_intervals_of_two_backbones_are_those_of_the_normal() -> None:
    runs = {name: [mean - 0.01, mean + 0.01] for name, mean in (("a", 0.80), ("b", 0.70))}
    found = aggregate(table(dict.fromkeys("stuv", runs)))
    assert found.table.schema.equals(AGGREGATE)
    assert found.pairs.schema.equals(PAIRS)
    row = by_name(found)["a"]
    # Each task: pooled variance 2e-4 over 2 runs, 2 degrees of freedom; the mean of four has a quarter of it.
    half = 0.01 * 4.3027 / 2
    assert row["ci_high"] - row["anchored_mean"] == pytest.approx(half, rel=1e-3)
    [pair] = found.pairs.to_pylist()
    sd = half / norm.ppf(0.975) * 2**0.5
    assert pair["p_a_beats_b"] == pytest.approx(norm.cdf(0.1 / sd), abs=1e-6)
    assert (row["rank"], row["rank_low"], row["rank_high"]) == (1, 1, 1)
    assert row["interquartile_mean"] is None
    assert found.sentences[0] == "Over these 4 tasks a is the best of 2 backbones at 95% confidence."


def test_no_interval_leaves_the_scale() -> None:
    found = aggregate(table({key: {"a": [1.0, 0.98], "b": [0.0, 0.02]} for key in "st"}))
    rows = by_name(found)
    assert rows["a"]["ci_high"] == 1.0
    assert -0.2 <= rows["b"]["ci_low"] < 0


def test_a_winner_that_depends_on_the_aggregator_is_said() -> None:
    """b wins two of three tasks by a hair and loses the third by far."""
    scores = {"s": {"a": [0.80], "b": [0.81]}, "t": {"a": [0.80], "b": [0.81]}, "u": {"a": [0.80], "b": [0.20]}}
    found = aggregate(table(scores))
    assert found.winners["anchored_mean"] == ("a",)
    assert found.winners["mean_rank"] == found.winners["bradley_terry"] == found.winners["mean_z_score"] == ("b",)
    assert any(line.startswith("The winner depends on how tasks are put together.") for line in found.sentences)
    agreed = aggregate(table({task: {"a": [0.9], "b": [0.8]} for task in "st"}))
    assert set(agreed.winners.values()) == {("a",)}
    assert not any("depends" in line for line in agreed.sentences)


def test_missing_cells_are_never_averaged_away() -> None:
    """c has the easy task only, on which it is the best."""
    scores = {
        "easy": {"a": [0.90, 0.91], "b": [0.88, 0.89], "c": [0.99, 0.98]},
        "hard": {"a": [0.50, 0.51], "b": [0.48, 0.49]},
    }
    found = aggregate(table(scores))
    rows = by_name(found)
    assert rows["c"]["status"] == "incomplete"
    assert rows["c"]["missing_tasks"] == ["hard"]
    assert {rows["c"][key] for key in ("rank", "anchored_mean", "mean_rank", "mean_z_score", "ci_low")} == {None}
    assert "c has no score on hard, so it is in no mean." in found.sentences
    without = aggregate(table({task: {n: of[n] for n in "ab"} for task, of in scores.items()}))
    for name in "ab":
        for key in ("rank", *AGGREGATORS):
            assert rows[name][key] == by_name(without)[name][key]


def test_broken_cells_are_flagged() -> None:
    scores = {task: {"a": [0.9, 0.91], "b": [0.8, 0.81], "dead": [0.7, 0.71]} for task in "st"}
    scores["t"]["dead"] = [0.0, 0.01]
    found = aggregate(table(scores))
    assert by_name(found)["dead"]["broken_tasks"] == ["t"]
    assert by_name(found)["a"]["broken_tasks"] == []
    assert any(line.startswith("dead looks broken on t") for line in found.sentences)


def test_nobody_everywhere_and_too_few_tasks() -> None:
    found = aggregate(table({"s": {"a": [0.9]}, "t": {"b": [0.8]}}))
    assert {row["status"] for row in found.table.to_pylist()} == {"incomplete"}
    assert found.sentences == ("No backbone has a score on every task: there is nothing to aggregate.",)
    with pytest.raises(TooFewTasks, match="at least two ranked tasks, got 1"):
        aggregate(table({"s": {"a": [0.9]}}))


def test_sweeps_of_two_tasks() -> None:
    models = {"a": Model(best=0.9), "b": Model(best=0.7)}
    worlds = [World(models=models, task=task, seed=seed).tables() for seed, task in enumerate(("birds", "pets"))]
    ranking = rank(*(pa.concat_tables(tables) for tables in zip(*worlds, strict=True)), options=RankingOptions())
    row = by_name(aggregate(ranking))["a"]
    own = [r["score"] for r in ranking.table.to_pylist() if r["backbone"] == "a"]
    assert row["anchored_mean"] == pytest.approx(np.mean(own))
    assert not any("not made of the same" in line for line in aggregate(ranking).sentences)
    birds, pets = ranking.verdicts
    unlike = aggregate(replace(ranking, verdicts=(birds, replace(pets, measured=("quality",)))))
    said = "The scores are not made of the same on every task: quality and ease on birds; quality on pets."
    assert unlike.sentences[-1] == said
    assert (row["rank_low"], row["rank_high"]) == (1, 1)
