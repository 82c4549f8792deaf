"""How long a sweep will take, and how many runs it has, as its boards tell."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console
from test_board import played
from twin import small_config

from orchestrator.config import load_sweep
from orchestrator.display.board import LineBoard
from orchestrator.display.board.pace import Pace
from orchestrator.display.board.state import SweepState
from orchestrator.evaluated import Evaluated
from orchestrator.planning.plan import plan
from orchestrator.searching.allocation import Race

RANDOM, SEARCH, CONFIRMATION = ("random", 1.0), ("searched", 1.0), ("confirmation", 1.0)


def quickstart(*overrides: str) -> Any:
    return plan(load_sweep("quickstart", list(overrides)))


def test_a_run_on_fewer_samples_is_taken_for_its_share() -> None:
    planned = quickstart("confirmation.train_fracs=[0.1]", "budget.max_epochs=10")
    one, other = planned.studies[0].key, planned.studies[1].key
    pace = Pace(planned)
    pace.learn(one, RANDOM, cost_s=30.0, epochs=10)
    assert pace.run_s(one, ("reduced", 0.1)) == pytest.approx(3.0)
    assert pace.run_s(one, RANDOM) == pace.run_s(one, CONFIRMATION) == 30.0
    assert 30.0 * 2 / 10 <= (pace.run_s(one, SEARCH) or 0) < 30.0, "some are stopped, none before its second epoch"
    pace.learn(one, ("reduced", 0.1), cost_s=5.0, epochs=10)
    assert pace.run_s(one, ("reduced", 0.1)) == 5.0
    pace.learn(one, CONFIRMATION, cost_s=60.0, epochs=10)
    pace.learn(other, RANDOM, cost_s=50.0, epochs=10)
    assert 50.0 < (pace.run_s(other, CONFIRMATION) or 0) <= 120.0, "as much dearer as the first study's"


def test_a_study_that_has_not_begun_costs_what_the_plan_says_beside_the_others() -> None:
    planned = quickstart()
    small, large = planned.studies[0], planned.studies[2]
    pace = Pace(planned)
    whole = sum(planned.seconds(study) for study in planned.studies)
    guessed = sum(
        study.random_trials * pace.run_s(study.key, RANDOM)
        + (study.trials - study.random_trials) * pace.run_s(study.key, SEARCH)
        + study.confirmations * pace.run_s(study.key, CONFIRMATION)
        for study in planned.studies
    )
    assert guessed == pytest.approx(whole), "before anything is measured"
    assert not pace.is_measured
    pace.learn(small.key, RANDOM, cost_s=8.0, epochs=3)
    ratio = planned.seconds(large) / planned.seconds(small)
    assert pace.run_s(large.key, RANDOM) == pytest.approx(8.0 * ratio)
    unknown = replace(
        planned, studies=tuple(replace(study, forward_flops=None, train_flops=None) for study in planned.studies)
    )
    pace = Pace(unknown)
    assert pace.run_s(large.key, RANDOM) is None
    pace.learn(small.key, RANDOM, cost_s=8.0, epochs=3)
    assert pace.run_s(large.key, RANDOM) == 8.0


def test_what_is_left_is_shared_by_the_slots(tmp_path: Path) -> None:
    """Of 2 studies with 4 trials and 2 confirmations all random trials have ended: 1.4 s for two epochs, of which
    the epochs are 1.2 s; of the first run on each worker they are what counts."""
    board = played(lambda config: LineBoard(plan(config), Console(file=io.StringIO())), tmp_path, most=4)
    state = board.state
    assert (state.ended, state.total, state.is_measured) == (4, 12, True)
    whole = (1.2 + 1.4) / 2
    searched = whole * (1 + 1 / 3) / 2  # one in three goes on after the first of two epochs
    assert state.left_s == pytest.approx((4 * searched + 4 * whole) / 2)
    state.slots = 100
    assert state.left_s == pytest.approx(whole), "no sooner than the longest of them"


def test_a_study_without_a_score_is_not_confirmed() -> None:
    state = SweepState(plan(small_config()))
    study = state.studies["digits:timm/tf_efficientnet_lite0@pypi"]
    for number in range(4):
        assert study.total == 6
        study.finish({"number": number, "phase": "random", "train_frac": 1.0, "state": "failed", "val_score": None})
    assert study.total == 4


def test_a_race_counts_fewer_runs_as_it_drops_and_ends() -> None:
    config = small_config(budget={"allocation": "race", "trials": 10, "random_trials": 3, "max_epochs": 2})
    board = LineBoard(plan(config), Console(file=(file := io.StringIO())))
    state = board.state
    first, second = state.studies
    assert (state.total, state.is_total_known) == (24, False), "20 trials and 4 confirmations at most"
    race = Race([first, second], random_trials=3, trials=10, seed=0)
    board.raced(race)
    assert (state.studies[first].total, state.total) == (race.granted[first] + 2, 24)
    for number in range(3):
        for study in (first, second):
            board.run_finished(trial(study, number), None, None)
    race.running.remove(second)
    board.raced(race)
    assert state.studies[second].total == 3
    assert state.total == 20 + 2
    race.outcome = "alone"
    board.raced(race)
    assert (state.total, state.is_total_known) == (3 + 3 + 2, True)
    assert state.phase == "confirming"
    assert "the race on digits is over (alone); to be confirmed: tf_efficientnet_lite0@pypi" in file.getvalue()


def test_nothing_is_said_while_the_state_is_locked() -> None:
    """A live display would read the state under its own lock, which whoever prints waits for: both for ever."""
    free: list[bool] = []

    class Checking(LineBoard):
        def say(self, message: str) -> None:
            def take() -> None:
                free.append(self.state.lock.acquire(timeout=1))
                if free[-1]:
                    self.state.lock.release()

            other = Thread(target=take)
            other.start()
            other.join()

    config = small_config(budget={"allocation": "race", "trials": 10, "random_trials": 3, "max_epochs": 2})
    board = Checking(plan(config), Console(file=io.StringIO()))
    first, second = board.state.studies
    race = Race([first, second], random_trials=3, trials=10, seed=0)
    race.outcome = "alone"
    board.raced(race)
    failed = Evaluated(study=first, number=0, measures=(), captions={}, pictures=Path(), failures=("a failure",))
    board.run_finished(trial(first, 0), None, failed)
    assert free == [True] * 3, "of the race, of what failed, of the run"


def trial(study: str, number: int) -> dict[str, Any]:
    return {
        "study": study,
        "number": number,
        "phase": "random",
        "train_frac": 1.0,
        "state": "completed",
        "val_score": 0.5,
        "metric": "accuracy",
        "error": None,
        "duration_s": 1.0,
        "epochs": 2,
        "num_attempts": 1,
        "learning_rate": 1e-3,
        "head_learning_rate": 1e-2,
        "freeze_depth": 0,
        "tune_stop": 18,
        "num_blocks": 18,
    }
