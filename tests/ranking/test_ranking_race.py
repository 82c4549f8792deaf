"""Races: what the posterior says, what the ranking claims afterwards, and how often they find the best."""

from __future__ import annotations

import numpy as np
import pytest
from world import Model, random_models

from benchmarks.ranking_truth.course import Course
from benchmarks.ranking_truth.racing import run_race, step
from orchestrator.ranking import RaceEnd, rank
from orchestrator.ranking.race import Reach, propose, reach, standing
from orchestrator.ranking.study import Run
from orchestrator.ranking.surface import embed
from orchestrator.searching.allocation import replay, search_trials

EPS = 0.005
UNLIKE = {"good": Model(best=0.9), "fair": Model(best=0.7), "poor": Model(best=0.5)}


def searched(trials: int, **models: Model) -> Course:
    course = Course(models=models or UNLIKE, num_val=1_000, num_test=400)
    for name in course.models:
        for _ in range(trials):
            step(course, name)
    return course


def stand(course: Course) -> dict[str, Reach]:
    runs = search_trials(course.tables()[0])
    return {study: reach(members, [0, index]) for index, (study, members) in enumerate(runs.items())}


def known(level: float, error_sd: float = 0.0) -> Reach:
    return Reach(np.full(1_000, level), error_sd)


def test_what_may_be_reached_lies_about_the_truth_and_narrows() -> None:
    few, many = (stand(searched(num, one=Model(best=0.88)))["t:one"].tops for num in (6, 16))
    assert abs(np.mean(many) - 0.88) < 0.03, "three standard errors of 1,000 validation samples"
    assert np.std(many) < np.std(few)


def test_probabilities_of_what_is_known_exactly() -> None:
    said = standing({"a": known(0.9), "b": known(0.9 - 2 * EPS)}, eps=EPS, confidence=0.95, seed=0)
    assert (said.leader, said.p_leader, said.p_undecidable) == ("a", 1.0, 0.0)
    assert said.p_best == {"a": 1.0, "b": 0.0}
    said = standing({"a": known(0.9, 0.02), "b": known(0.9, 0.02)}, eps=EPS, confidence=0.95, seed=0)
    assert abs(said.p_best["a"] - 0.5) < 0.05
    assert said.p_undecidable == 1.0, "the validation set is too small for any number of trials"
    assert sum(said.p_best.values()) == pytest.approx(1.0)


def test_a_small_validation_set_keeps_more_backbones_in() -> None:
    course = searched(8, a=Model(best=0.90), b=Model(best=0.87))
    runs = search_trials(course.tables()[0])
    p_worse = []
    for num_val in (50, 1_000_000):
        resized = {study: [resize(run, num_val) for run in members] for study, members in runs.items()}
        reaches = {study: reach(members, [0, index]) for index, (study, members) in enumerate(resized.items())}
        p_worse.append(standing(reaches, eps=EPS, confidence=0.95, seed=0).p_best["t:b"])
    assert p_worse[0] > p_worse[1]


def resize(run: Run, num_val: int) -> Run:
    values = {name: getattr(run, name) for name in Run.__dataclass_fields__}
    return Run(**{**values, "num_val": num_val})


def test_thompson_sampling_looks_where_the_best_may_be() -> None:
    course = searched(10, one=Model(best=0.9, depth=0.5, rate_cost=0.05))
    [runs] = search_trials(course.tables()[0]).values()
    away = embed([0.5, 0.5], [10**-3.2, 10**-4.9], [10**-2.5, 10**-2.5])
    picks = [propose(runs, away, np.random.default_rng(seed)) for seed in range(30)]
    assert picks.count(0) > 25, "the other candidate is decades from the optimum"
    near = embed([0.5] * 4, [10**rate for rate in (-3.4, -3.3, -3.2, -3.1)], [10**-2.5] * 4)
    assert len({propose(runs, near, np.random.default_rng(seed)) for seed in range(30)}) > 1, "draws differ"


def test_after_a_race_only_what_was_left_is_compared() -> None:
    course = Course(models=UNLIKE | {"also": Model(best=0.9)}, num_val=300, num_test=600)
    race = run_race(course, 8)
    assert {study[2:] for study in race.running} == {"good", "also"}
    end = RaceEnd(dropped=dict.fromkeys(("fair", "poor"), "dropped after 8 trials: 0.1% likely"), sentence="race!")
    result = rank(*course.tables(), races={"t": end})
    rows = {row["backbone"]: row for row in result.table.to_pylist()}
    for name in ("fair", "poor"):
        row = rows[name]
        assert (row["status"], row["rank"], row["score"]) == ("dropped", None, None)
        assert (row["rank_low"], row["rank_high"]) == (2, 4)
        assert row["num_trials"] == len(course.rows_of(name))
        assert row["reason"] == end.dropped[name]
    for name in ("good", "also"):
        row = rows[name]
        assert row["status"] == "ranked"
        assert row["score"] == row["quality"], "what little tuning gives was not measured alike"
        assert row["rank_high"] in (1, 4), "whoever is not the first may be behind any that was dropped"
    [verdict] = result.verdicts
    assert verdict.sentences[0] == verdict.race == "race!"
    assert verdict.measured == ("quality",)
    assert "ease" in verdict.unmeasured
    assert verdict.dropped == ("fair", "poor")
    assert not any("Budgets differ" in sentence for sentence in verdict.sentences)
    assert any("at any place but the first: fair and poor" in sentence for sentence in verdict.sentences)


def test_a_lone_survivor_is_first_and_says_why() -> None:
    course = Course(models=UNLIKE, num_val=1_000, num_test=400)
    race = run_race(course, 8)
    assert (race.outcome, race.running) == ("alone", ["t:good"])
    end = RaceEnd(dropped=dict.fromkeys(("fair", "poor"), "dropped"), sentence="race!")
    result = rank(*course.tables(), races={"t": end})
    places = {row["backbone"]: (row["rank"], row["rank_low"], row["rank_high"]) for row in result.table.to_pylist()}
    assert places == {"good": (1, 1, 1), "fair": (None, 2, 3), "poor": (None, 2, 3)}
    assert "good alone was left to be confirmed." in result.verdicts[0].sentences


def test_a_table_tells_the_race_that_made_it() -> None:
    course = Course(models=UNLIKE, num_val=1_000, num_test=400)
    race = run_race(course, 8, ahead=1)
    again = replay(course.tables()[0], course.keys, random_trials=6, num_trials=8, seed=course.seed)
    assert (again.looks, again.outcome, again.running) == (race.looks, race.outcome, race.running)


@pytest.mark.slow
def test_races_find_the_best_with_less_than_equal_shares() -> None:
    """Eight backbones over 5 points, in worlds that no threshold was chosen on."""
    worlds, trials, good, certain, spent = 3, 24, [], [], []
    for seed in range(500, 500 + worlds):
        models = random_models(8, np.random.default_rng([31, seed]))
        course = Course(models=models, seed=seed)
        race = run_race(course, trials)
        names = {study: study[2:] for study in race.running}
        standing_ = race.looks[-1].standing
        assert standing_ is not None
        dropped = {study[2:]: "dropped" for study in race.dropped}
        result = rank(*course.tables(), races={"t": RaceEnd(dropped=dropped, sentence="race")})
        first = next(row["backbone"] for row in result.table.to_pylist() if row["rank"] == 1)
        assert first in names.values()
        good.append(course.gap(first) <= EPS)
        if race.outcome in ("confident", "alone"):
            certain.append(course.gap(standing_.leader[2:]) <= EPS)
        spent.append(sum(row["phase"] != "confirmation" for row in course.trials) / race.total)
    assert np.mean(good) >= 0.6  # P(fewer than 2 of 3 at a true 0.9) = 0.03
    assert len(certain) - sum(certain) <= 1
    assert np.mean(spent) <= 0.9
    assert max(spent) <= 1
