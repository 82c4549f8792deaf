"""Many studies behind one searcher and one scheduler, driven as Tune drives them."""

from __future__ import annotations

import errno
import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher
from twin import Twin, epoch_result, small_config

from orchestrator.config import Budget
from orchestrator.searching.scheduling import StudyScheduler
from orchestrator.workers.request import RunRequest

STUDIES = tuple(f"timm/tf_efficientnet_lite0@w{index}" for index in range(4))


def good(request: RunRequest, epoch: int) -> float:
    return 0.5 + 0.01 * request.number


def four_studies(**changes: Any) -> Any:
    return small_config(backbones=list(STUDIES), **changes)


def handed(twin: Twin) -> list[int]:
    counts = Counter(request.study for request in twin.requests.values())
    return [counts[study.key] for study in twin.studies]


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 9])
def test_all_studies_advance_alike(tmp_path: Path, slots: int) -> None:
    twin = Twin(four_studies(budget__trials=5, budget__random_trials=5), tmp_path)
    for _ in range(20):  # while none waits for its confirmations
        while len(twin.running) >= slots:
            twin.advance(twin.running[0], good)
        assert isinstance(twin.suggest(), RunRequest)
        assert max(handed(twin)) - min(handed(twin)) <= 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), slots=st.integers(1, 8))
def test_whatever_ends_when_every_study_gets_its_budget(tmp_path: Path, seed: int, slots: int) -> None:
    """Runs end in any order and any way; None is said only while something runs, FINISHED only at the end."""
    chance = random.Random(seed)
    twin = Twin(small_config(budget__trials=3, budget__random_trials=1), tmp_path)
    fates: dict[tuple[str, int], str] = {}

    def outcome(request: RunRequest, epoch: int) -> float | str:
        key = request.study, request.number
        fate = fates.setdefault(key, chance.choice(["complete"] * 4 + ["stop", "diverge", "die"]))
        return chance.random() if fate == "complete" else fate

    said: RunRequest | str | None = None
    while said != Searcher.FINISHED:
        if len(twin.running) < slots:
            said = twin.suggest()
            if said is None:
                assert twin.running
            if isinstance(said, RunRequest):
                continue
        if twin.running:
            twin.advance(chance.choice(twin.running), outcome)
    assert not twin.running
    rows = twin.folder.trials.read().to_pylist()
    for study in twin.studies:
        mine = [row for row in rows if row["study"] == study.key]
        trials = [row for row in mine if row["phase"] != "confirmation"]
        assert sorted(row["number"] for row in trials) == [0, 1, 2]
        completed = any(row["state"] == "completed" for row in trials)
        assert len(mine) - len(trials) == (2 if completed else 0)
    assert twin.suggest() == Searcher.FINISHED
    tests = {(row["study"], row["number"]) for row in twin.folder.tests.read().to_pylist()}
    assert tests == {(row["study"], row["number"]) for row in rows if row["state"] == "completed"}


def test_an_end_told_twice_and_a_result_after_the_end_change_nothing(tmp_path: Path) -> None:
    twin = Twin(small_config(), tmp_path)
    twin.suggest()
    twin.searcher.on_trial_result("t0", epoch_result(1, 0.5))
    twin.searcher.on_trial_complete("t0", error=True)
    before = [table.to_pylist() for table in twin.folder.tables()]
    twin.searcher.on_trial_complete("t0", result=epoch_result(2, 0.6, done=True))
    twin.searcher.on_trial_result("t0", epoch_result(2, 0.6))
    twin.searcher.on_trial_complete("never heard of", error=True)
    twin.searcher.on_trial_result("never heard of", epoch_result(1, 0.5))
    assert [table.to_pylist() for table in twin.folder.tables()] == before
    assert twin.searcher.failure is None


@pytest.mark.parametrize("last", [False, True], ids=["during an epoch", "at the end"])
def test_a_record_that_cannot_be_written_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    """Tune takes what a searcher raises for the trial's failure and goes on: the study would wait for ever."""
    twin = Twin(small_config(), tmp_path)
    limited = ConcurrencyLimiter(twin.searcher, 2)
    limited.suggest("t0")
    full = OSError(errno.ENOSPC, "No space left on device")

    def raises(_: object) -> None:
        raise full

    monkeypatch.setattr(twin.folder.trials if last else twin.folder.epochs, "append", raises)
    tell = limited.on_trial_complete if last else limited.on_trial_result
    with pytest.raises(OSError, match="No space"):
        tell("t0", epoch_result(1, 0.5))
    monkeypatch.undo()
    limited.on_trial_complete("t0", error=True)  # as Tune's TrialRunner does then
    assert twin.searcher.failure is full
    with pytest.raises(OSError, match="No space"):
        limited.suggest("t1")


def test_nothing_that_searches_is_pickled_or_restored(tmp_path: Path) -> None:
    searcher = Twin(small_config(), tmp_path).searcher
    assert searcher.__getstate__() == {}
    with pytest.raises(NotImplementedError):
        searcher.save("x")
    with pytest.raises(NotImplementedError):
        searcher.restore("x")
    assert not searcher.set_search_properties("loss", "min", {"lr": 1})
    assert searcher.set_search_properties(None, None, {})


# --- the scheduler


_numbers = itertools.count()


def trial(study: str, phase: str = "tpe") -> Trial:
    config = {"study": study, "number": next(_numbers), "phase": phase, "test_file": "runs/x.json"}
    return Trial("stub", config=config, stub=True)


def scheduler(*studies: str, max_epochs: int = 9, grace: int = 1, factor: int = 3) -> StudyScheduler:
    budget = Budget(max_epochs=max_epochs, grace_epochs=grace, reduction_factor=factor)
    return StudyScheduler(studies, budget)


def decide(made: StudyScheduler, one: Trial, epoch: int, score: float | None) -> str:
    result = {"epoch": epoch} if score is None else {"epoch": epoch, "val_score": score}
    return made.on_trial_result(None, one, result)


def add(made: StudyScheduler, *trials: Trial) -> None:
    for one in trials:
        made.on_trial_add(None, one)


def test_rungs_are_not_shared_by_studies() -> None:
    """A slow starter's trial is compared with its own study alone."""
    made = scheduler("fast", "slow")
    fast = [trial("fast") for _ in range(6)]
    slow = [trial("slow") for _ in range(6)]
    add(made, *fast, *slow)
    for index, one in enumerate(fast):
        decide(made, one, 1, 0.90 + 0.01 * index)
    decisions = [decide(made, one, 1, 0.30 + 0.01 * index) for index, one in enumerate(slow)]
    assert decisions == [TrialScheduler.CONTINUE] * 6, "each is the best of its own study so far"
    assert decide(made, slow[-1], 3, 0.9) == TrialScheduler.CONTINUE
    worse = trial("slow")
    add(made, worse)
    assert decide(made, worse, 1, 0.29) == TrialScheduler.STOP


def test_the_random_slice_fills_the_rungs_and_is_never_stopped() -> None:
    made = scheduler("a")
    random_slice = [trial("a", "random") for _ in range(5)]
    searched = trial("a")
    add(made, *random_slice, searched)
    for index, one in enumerate(random_slice):
        for epoch in range(1, 9):
            assert decide(made, one, epoch, 0.8 - 0.1 * index) == TrialScheduler.CONTINUE
    assert decide(made, searched, 1, 0.5) == TrialScheduler.STOP


@pytest.mark.parametrize("phase", ["confirmation", "reduced"])
def test_what_follows_the_search_stays_outside(phase: str) -> None:
    made = scheduler("a")
    best = trial("a", phase)
    add(made, best)
    for epoch in range(1, 9):
        assert decide(made, best, epoch, 0.99) == TrialScheduler.CONTINUE
    made.on_trial_complete(None, best, {"epoch": 9, "val_score": 0.99})
    made.on_trial_error(None, trial("a", phase))
    made.on_trial_remove(None, trial("a", phase))
    searched = trial("a")
    add(made, searched)
    assert decide(made, searched, 1, 0.01) == TrialScheduler.CONTINUE, "nothing but itself is in the rung"


def test_nothing_is_stopped_before_the_grace_epochs() -> None:
    made = scheduler("a", grace=3)
    trials = [trial("a") for _ in range(8)]
    add(made, *trials)
    for one, score in zip(trials, [0.9] * 7 + [0.0], strict=True):
        assert [decide(made, one, epoch, score) for epoch in (1, 2)] == [TrialScheduler.CONTINUE] * 2
    for one in trials[:7]:
        decide(made, one, 3, 0.9)
    assert decide(made, trials[7], 3, 0.0) == TrialScheduler.STOP


def test_a_report_without_a_score_is_no_reason_to_stop() -> None:
    made = scheduler("a")
    one = trial("a")
    add(made, one)
    assert decide(made, one, 1, None) == TrialScheduler.CONTINUE
    made.on_trial_complete(None, one, {"epoch": 1, "error": "diverged"})
    made.on_trial_error(None, one)
    assert "1 studies" in made.debug_string()


def test_a_run_that_is_tried_again_keeps_its_place_on_the_rungs() -> None:
    """Tune calls the second attempt another trial; what the first one reached must not be counted twice."""
    made = scheduler("a")
    first = [trial("a") for _ in range(3)]
    add(made, *first)
    for one, score in zip(first, (0.5, 0.6, 0.7), strict=True):
        decide(made, one, 1, score)
    made.on_trial_error(None, first[2])
    again = Trial("stub", config=first[2].config, stub=True)
    add(made, again)
    assert decide(made, again, 2, 0.9) == TrialScheduler.CONTINUE
    newcomer = trial("a")
    add(made, newcomer)
    assert decide(made, newcomer, 1, 0.68) == TrialScheduler.CONTINUE, "0.9 was reached later than this rung"


def test_replayed_epochs_decide_as_reported_ones() -> None:
    reported, replayed = scheduler("a"), scheduler("a")
    rows = [(number, epoch, 0.1 * number + 0.01 * epoch) for number in range(5, -1, -1) for epoch in (1, 2, 3)]
    trials = {number: trial("a") for number in range(6)}
    add(reported, *trials.values())
    decisions = [decide(reported, trials[number], epoch, score) for number, epoch, score in rows]
    stops = [replayed.replay("a", number, "tpe", epoch, score) for number, epoch, score in rows]
    assert stops == [decision == TrialScheduler.STOP for decision in decisions]
    assert any(stops)
    assert not replayed.replay("a", 9, "random", 1, 0.0), "the random slice is never stopped"
    assert not replayed.replay("a", 10, "confirmation", 1, 0.0)
    assert not replayed.replay("a", 11, "tpe", 9, 0.0), "all epochs are done: it is completed, not stopped"


def test_searcher_and_scheduler_leave_no_metric_to_the_tuner() -> None:
    made = scheduler("a")
    assert made.set_search_properties(None, None)
    assert not made.set_search_properties("loss", "min")
    assert made.metric == "val_score"
