"""Who gets the next trial: equal shares, and races, on tables and behind a searcher."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twin import NUM_BLOCKS, Twin, small_config

from orchestrator.config import SweepConfig
from orchestrator.ranking.study import Run
from orchestrator.searching.allocation import DROP_BELOW, EPS, LOOKS, ROUND, Race, replay, search_trials
from orchestrator.searching.allocators import EqualShares, Races
from orchestrator.workers.request import RunRequest

BACKBONES = [f"timm/tf_efficientnet_lite0@w{index}" for index in range(3)]


def race_config(**changes: Any) -> SweepConfig:
    budget = {"allocation": "race", "trials": 8, "random_trials": 4, "max_epochs": 1}
    return small_config(backbones=BACKBONES, **{"budget": budget, **changes})


def level_of(request: RunRequest) -> float:
    """Backbones are 30 points apart; within one, the depth matters a little."""
    best = {"@w0": 0.9, "@w1": 0.6, "@w2": 0.3}[request.config.backbone[-3:]]
    return round(best - 0.0005 * abs(request.config.freeze_depth - 9), 6)


def by_backbone(request: RunRequest, epoch: int) -> float:
    return level_of(request)


def alike(request: RunRequest, epoch: int) -> float:
    """The same of every backbone, and noisy: the 60 validation samples cannot tell them apart."""
    rng = random.Random(f"{request.config.freeze_depth}:{request.number}:{request.config.backbone}")
    return round(0.8 - 0.005 * abs(request.config.freeze_depth - 9) + rng.gauss(0, 0.01), 6)


def search_counts(twin: Twin) -> Counter[str]:
    return Counter(request.study for request in twin.requests.values() if request.phase != "confirmation")


# --- equal shares


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31 - 1), slots=st.integers(1, 5))
def test_equal_shares_hand_out_to_whoever_has_been_handed_the_least(tmp_path: Path, seed: int, slots: int) -> None:
    """Run by run what the searcher did before it had an allocator."""
    twin = Twin(small_config(budget__trials=5, seed=seed), tmp_path)
    chance = random.Random(seed)
    while True:
        waiting = sorted(twin.studies, key=lambda study: study.num_handed)
        before = [study.num_handed for study in waiting]
        said = twin.suggest() if len(twin.running) < slots else None
        if isinstance(said, RunRequest):
            ready = [study.key for study, count in zip(waiting, before, strict=True) if study.num_handed > count]
            assert ready == [said.study]
            skipped = [study for study in waiting if study.key != said.study and study.num_handed < before[0]]
            assert not skipped
        elif said is not None:
            break
        elif twin.running:
            twin.advance(chance.choice(twin.running), lambda request, epoch: chance.random())
    assert isinstance(EqualShares(twin.studies).order(), Sequence)
    assert search_counts(twin) == {study.key: 5 for study in twin.studies}


# --- a race behind a searcher


def test_a_race_drops_what_cannot_be_the_best_and_confirms_the_rest(tmp_path: Path) -> None:
    twin = Twin(race_config(), tmp_path)
    requests = twin.run(by_backbone)
    counts = search_counts(twin)
    best, *others = (study.key for study in twin.studies)
    assert all(counts[key] <= 4 + ROUND for key in others), "what runs ahead of a look is one round at most"
    assert sum(counts.values()) < 3 * 8
    confirmed = [request.study for request in requests if request.phase == "confirmation"]
    assert confirmed == [best, best]
    numbers = [request.number for request in requests if request.study == best]
    assert sorted(numbers) == list(range(len(numbers))), "confirmations follow the trials there were"
    assert {request.phase for request in requests} <= {"random", "thompson", "confirmation"}


def test_a_race_that_decides_nothing_spends_no_more_than_equal_shares(tmp_path: Path) -> None:
    for slots in (1, 4):
        twin = Twin(race_config(), tmp_path / str(slots))
        requests = twin.run(alike, slots=slots)
        counts = search_counts(twin)
        assert sum(counts.values()) <= 3 * 8
        confirmed = Counter(request.study for request in requests if request.phase == "confirmation")
        assert len(confirmed) >= 2, "nobody was left out who might be the best"
        assert set(confirmed.values()) == {2}


def test_random_trials_of_a_race_are_those_of_equal_shares(tmp_path: Path) -> None:
    def random_slice(twin: Twin) -> list[Any]:
        drawn = [request for request in twin.run(by_backbone) if request.phase == "random"]
        return sorted((request.study, request.number, repr(request.config)) for request in drawn)

    race = random_slice(Twin(race_config(), tmp_path / "race"))
    equal = small_config(backbones=BACKBONES, budget={"trials": 8, "random_trials": 4, "max_epochs": 1})
    assert race == random_slice(Twin(equal, tmp_path / "equal"))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31 - 1), slots=st.integers(1, 6))
def test_whatever_order_trials_end_in_the_table_tells_the_same_race(tmp_path: Path, seed: int, slots: int) -> None:
    """What a driver decided while trials ran is what anybody reads from its table afterwards."""
    twin = Twin(race_config(), tmp_path)
    chance = random.Random(seed)

    def outcome(request: RunRequest, epoch: int) -> float | str:
        fate = random.Random(f"{seed}:{request.study}:{request.number}").random()
        return "diverge" if fate < 0.2 else level_of(request)

    said: RunRequest | str | None = None
    while said != "FINISHED":
        said = twin.suggest() if len(twin.running) < slots else None
        if not isinstance(said, RunRequest) and twin.running:
            twin.advance(chance.choice(twin.running), outcome)
    allocator = twin.searcher._allocator
    assert isinstance(allocator, Races)
    [live] = allocator.races
    again = told(twin)
    assert live.outcome is not None
    assert (again.looks, again.outcome, again.running) == (live.looks, live.outcome, live.running)
    confirmed = {request.study for request in twin.requests.values() if request.phase == "confirmation"}
    assert confirmed == set(live.running)


def told(twin: Twin) -> Race:
    budget = twin.config.budget
    return replay(
        twin.folder.trials.read(),
        [study.key for study in twin.studies],
        random_trials=budget.random_trials,
        num_trials=budget.trials,
        seed=twin.config.seed,
    )


def test_a_race_of_which_nothing_completes_ends(tmp_path: Path) -> None:
    twin = Twin(race_config(), tmp_path)
    requests = twin.run(lambda request, epoch: "die")
    assert {request.phase for request in requests} <= {"random", "thompson"}
    race = told(twin)
    assert (race.outcome, race.running) == ("failed", [])
    assert twin.suggest() == "FINISHED"


def test_a_study_without_a_completed_trial_is_out(tmp_path: Path) -> None:
    twin = Twin(race_config(), tmp_path)
    twin.run(lambda request, epoch: "die" if "@w0" in request.config.backbone else level_of(request))
    race = told(twin)
    assert twin.studies[0].key in race.dropped
    assert twin.studies[1].key in race.running


def test_each_task_has_its_own_race(tmp_path: Path) -> None:
    tasks = [{"name": name, "num_train": 120, "num_val": 60, "num_test": 120, "image_size": 32} for name in "ab"]

    def outcome(request: RunRequest, epoch: int) -> float:
        return level_of(request) if request.task.name == "a" else 1 - level_of(request)

    twin = Twin(race_config(tasks=tasks), tmp_path)
    confirmed = {request.study for request in twin.run(outcome) if request.phase == "confirmation"}
    assert confirmed == {f"a:{BACKBONES[0]}", f"b:{BACKBONES[2]}"}


# --- the rules, on made-up runs


def runs_of(study: str, scores: Sequence[float], num_val: int = 100_000) -> list[Run]:
    """Trials along one line of the space, of which the scores are given."""
    return [
        Run(
            study=study,
            seed=0,
            number=number,
            task="t",
            backbone=study,
            phase="random",
            state="completed",
            freeze_depth=number % 5,
            tune_stop=NUM_BLOCKS,
            num_blocks=NUM_BLOCKS,
            freeze_frac=number % 5 / NUM_BLOCKS,
            learning_rate=1e-3,
            head_learning_rate=1e-2,
            rest=(),
            metric="accuracy",
            val_score=score,
            num_val=num_val,
            duration_s=1.0,
            train_frac=1.0,
        )
        for number, score in enumerate(scores)
    ]


def run_on(levels: Mapping[str, float], *, trials: int, num_val: int = 100_000) -> tuple[Race, Counter[str]]:
    """A race of backbones that always score the same."""
    race = Race(list(levels), random_trials=4, trials=trials, seed=0)
    taken: Counter[str] = Counter()
    while race.outcome is None:
        taken |= {study: race.granted[study] for study in race.running}
        runs = {study: runs_of(study, [level] * taken[study], num_val) for study, level in levels.items()}
        assert race.is_due({study: set(range(count)) for study, count in taken.items()})
        race.look(runs, taken)
    return race, taken


def test_plain_differences_end_a_race_at_its_first_look() -> None:
    race, _ = run_on({"a": 0.9, "b": 0.5, "c": 0.5}, trials=20)
    assert (race.outcome, race.running, len(race.looks)) == ("alone", ["a"], 1)
    assert race.looks[0].dropped == ("b", "c")
    standing = race.looks[0].standing
    assert standing is not None
    assert all(standing.p_best[study] < DROP_BELOW for study in "bc")


def test_equal_backbones_on_many_samples_are_good_enough_each() -> None:
    """Nothing tells them apart, and nothing needs to: whichever leads is within half a point of the best."""
    race, taken = run_on({"a": 0.9, "b": 0.9}, trials=60, num_val=10_000_000)
    assert race.outcome == "confident"
    assert len(race.looks) >= LOOKS
    assert race.looks[-1].standing is not None
    assert race.looks[-1].standing.p_leader >= 0.95
    assert sum(taken.values()) < 2 * 60


def test_a_small_validation_set_ends_it_as_well() -> None:
    race, taken = run_on({"a": 0.9, "b": 0.9}, trials=60, num_val=100)
    assert race.outcome == "set-limited"
    assert race.running == ["a", "b"]
    assert sum(taken.values()) < 60


@pytest.mark.parametrize("trials", [4, 5, 6, 7, 8])
def test_no_trial_beyond_the_budget_and_none_left_where_it_is_undecided(trials: int) -> None:
    race, taken = run_on({"a": 0.9, "b": 0.9 - EPS, "c": 0.9}, trials=trials, num_val=5_000)
    assert all(count <= trials for count in taken.values())
    if race.outcome == "budget":
        assert 3 * trials - sum(taken.values()) < 3, "less than one for each"


def test_what_a_dropped_study_leaves_goes_to_the_others() -> None:
    race, taken = run_on({"a": 0.9, "b": 0.9 - EPS / 2, "c": 0.2}, trials=6, num_val=20_000)
    assert race.dropped[:1] == ("c",)
    assert sum(taken.values()) <= 18
    assert max(taken.values()) > 6 or race.outcome != "budget"


def test_a_look_waits_for_every_trial_of_its_round() -> None:
    race = Race(["a", "b"], random_trials=4, trials=9, seed=0)
    assert not race.is_due({})
    assert not race.is_due({"a": {0, 1, 2, 3, 4}, "b": {0, 1, 2, 4}})
    assert race.is_due({"a": {0, 1, 2, 3}, "b": {3, 2, 1, 0, 5}})


def test_what_follows_the_search_is_no_part_of_a_race(tmp_path: Path) -> None:
    twin = Twin(race_config(confirmation={"seeds": 2, "train_fracs": [0.5]}), tmp_path)
    twin.run(by_backbone)
    table: pa.Table = twin.folder.trials.read()
    found = search_trials(table)
    phases = Counter(table["phase"].to_pylist())
    assert phases["confirmation"] == phases["reduced"] == 2, "of those that were left alone"
    assert sum(map(len, found.values())) == phases["random"] + phases["thompson"]
    assert {row["study"] for row in table.to_pylist() if row["phase"] == "reduced"} == {twin.studies[0].key}
