"""The benchmark against known truth: its figures by hand, its worlds, and a few of them ranked."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ranking_truth import __main__ as command
from benchmarks.ranking_truth.figures import against_aims, averages, holds, judged
from benchmarks.ranking_truth.model import Roughness
from benchmarks.ranking_truth.rankers import Claim, percentile_ranks
from benchmarks.ranking_truth.scenario import SCENARIOS, SPACE
from benchmarks.ranking_truth.search import search
from benchmarks.ranking_truth.worlds import Job, new_course, ranked


def test_rank_intervals_hold_by_hand() -> None:
    truth = np.array([0.9, 0.8, 0.8, 0.7])  # true ranks 1, 2-3, 2-3, 4
    assert holds(np.array([1, 2, 2, 4]), np.array([1, 3, 3, 4]), truth) == 1.0
    assert holds(np.array([1, 1, 1, 1]), np.array([4, 4, 4, 4]), truth) == 1.0
    assert holds(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4]), truth) == 0.0, "equals may not be told apart"
    assert holds(np.array([2, 1, 1, 4]), np.array([2, 3, 3, 4]), truth) == 0.0


def test_figures_of_a_claim_by_hand() -> None:
    truth = np.array([0.9, 0.896, 0.8])
    whole = np.array([1, 1, 1]), np.array([3, 3, 3])
    claim = Claim(scores=np.array([0.89, 0.90, 0.70]), levels=np.array([0.89, 0.89, 0.80]), low=whole[0], high=whole[1])
    found = judged(claim, truth)
    assert found["top1"] == 1.0, "the second is within half a point of the best"
    assert found["tau"] == pytest.approx(1 / 3)  # two of three pairs in order, one not
    assert (found["covered"], found["width"]) == (1.0, 3.0)
    assert found["bias"] == pytest.approx(100 * (0.0 + 0.01 - 0.10) / 3)
    assert found["regret"] == pytest.approx(100 * (0.01 + 0.006 + 0.0) / 3)


def test_averages_and_aims() -> None:
    means = averages([{"top1": 1.0, "tau": 0.5, "covered": 1.0}, {"top1": 0.0, "tau": 0.9, "covered": 1.0}])
    assert means["tau"] == {"mean": 0.7, "se": 0.2}
    compared = against_aims("spread", "shipped", 48, means)
    assert compared["tau"] == {"aim": 0.88, "reached": True}
    assert compared["top1"]["reached"], "half, with a standard error of half"
    assert against_aims("tied3", "shipped", 48, means) == {}
    assert averages([{"tau": 0.5, "width": math.nan}]) == {
        "tau": {"mean": 0.5, "se": None},
        "width": {"mean": None, "se": None},
    }


def test_percentiles_of_resampled_ranks() -> None:
    apart = [np.array([0.9, 0.91]), np.array([0.5, 0.52]), np.array([0.6, 0.65])]
    low, high = percentile_ranks(apart, np.mean, seed=0)
    assert low.tolist() == high.tolist() == [1, 3, 2]
    low, high = percentile_ranks([np.array([0.1, 0.9]), np.array([0.5, 0.5])], np.max, seed=0)
    assert (low.tolist(), high.tolist()) == ([1, 1], [2, 2])


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_best_of_every_backbone_is_known(name: str) -> None:
    scenario = SCENARIOS[name]
    models = scenario.models(np.random.default_rng(0))
    bests = np.array([model.attainable(SPACE) for model in models.values()])
    assert np.all((bests > 0.88 - scenario.spread - 1e-9) & (bests <= 0.88 + 1e-9))
    assert np.sum(bests > bests.max() - 1e-9) == scenario.num_tied
    for model in models.values():
        rates = np.random.default_rng(1).uniform(*SPACE.rates, 200)
        drawn = model.expected(np.arange(200) % 7, rates, -2.5, SPACE.num_blocks)
        assert drawn.max() <= model.attainable(SPACE) + 1e-4


def test_a_rough_field_has_its_spread() -> None:
    rng = np.random.default_rng(0)
    values = [Roughness.draw(rng, 0.006).at(3, np.linspace(-5, -2, 50)) for _ in range(200)]
    assert np.std(values) == pytest.approx(0.006, rel=0.1)


def test_backbones_and_seeds_disagree_as_said() -> None:
    course = new_course("spread", 0, 10)
    config = (3, 1e-3, 10**-2.5)
    of = {
        name: [course.run(name, 0, "random", config, course.rng(name, 9, k))[1] for k in (0, 1)]
        for name in ["m0", "m1"]
    }
    bits = {name: [np.unpackbits(np.frombuffer(row["correct"], np.uint8)) for row in rows] for name, rows in of.items()}
    assert 0.04 < np.mean(bits["m0"][0] != bits["m0"][1]) < 0.11
    assert np.mean(bits["m0"][0] != bits["m1"][0]) > np.mean(bits["m0"][0] != bits["m0"][1])


def test_a_short_search_is_the_beginning_of_a_long_one() -> None:
    short, long = (new_course("close", 3, 10) for _ in range(2))
    one, other = search(short, "m0", 12), search(long, "m0", 14)
    assert one == other[:12]
    assert [row["phase"] for row in one] == ["random"] * 10 + ["tpe"] * 2
    search(short, "m1", 10)
    [own] = [row for row in short.trials if row["backbone"] == "m1" and row["number"] == 4]
    assert own["learning_rate"] == one[4]["learning_rate"], "the random slice is the same for all"


def test_one_world_ranked() -> None:
    found = ranked(Job(kind="rank", scenario="spread", seed=0, trials=(12,)))
    assert found.keys() == {"max_validation", "mean_of_confirmations", "shipped"}
    for by_trials in found.values():
        assert by_trials.keys() == {"12"}
        assert 1 <= by_trials["12"]["width"] <= 8
    assert found["shipped"]["12"]["found_width"] <= found["shipped"]["12"]["width"]


@pytest.mark.slow
def test_worlds_that_are_done_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = tmp_path / "done.jsonl"
    arguments = ["ranking_truth", "--quick", "--scenarios", "close", "--keep", str(keep)]
    monkeypatch.setattr(sys, "argv", arguments)
    command.main()
    first = json.loads(capsys.readouterr().out)
    assert len(keep.read_text().splitlines()) == 2
    monkeypatch.setattr(command, "run", None)
    command.main()
    again = json.loads(capsys.readouterr().out)
    assert again["rankings"] == first["rankings"]
    assert again["rankings"]["close"]["shipped"]["12"]["aims"]["tau"]["aim"] == 0.43
