"""What a sampler looks at is bounded, and below the bound nothing is changed by it."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from orchestrator.searching.suggestion import HISTORY_LIMIT, NUM_GOOD, History

DEPTH = optuna.distributions.IntDistribution(0, 18)


def space(trial: Trial) -> tuple[int, float, float | None]:
    """One parameter is there for some trials only, as in the project's own spaces."""
    depth = trial.suggest_int("freeze_depth", 0, 18)
    head = trial.suggest_float("head_learning_rate", 1e-4, 1e-1, log=True)
    return depth, head, trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True) if depth < 18 else None


def tpe(number: int) -> TPESampler:
    return TPESampler(seed=number, n_startup_trials=0, constant_liar=True)


def ended(number: int, value: float, *, stopped_at: int | None = None) -> FrozenTrial:
    trial = create_trial(
        state=TrialState.COMPLETE if stopped_at is None else TrialState.PRUNED,
        value=value,
        params={"freeze_depth": number % 19},
        distributions={"freeze_depth": DEPTH},
        intermediate_values={stopped_at or 1: value},
    )
    trial.number = number
    return trial


def numbers(history: History) -> list[int]:
    return [trial.number - 1 for trial in history.trials]


def test_below_the_limit_every_suggestion_is_that_of_all_trials() -> None:
    """Beside Optuna's own study: completed, stopped and failed trials, three at a time."""
    study, history = optuna.create_study(direction="maximize"), History()
    fate, running = random.Random(0), dict[int, Trial]()
    for number in range(90):
        study.sampler = RandomSampler(seed=number) if number < 10 else tpe(number)
        running[number] = study.ask()
        theirs = space(running[number])
        ours, trial = history.suggest(number, RandomSampler(seed=number) if number < 10 else tpe(number), space)
        assert ours == theirs
        assert (trial.params, trial.state) == (running[number].params, TrialState.RUNNING)
        if len(running) < 3:
            continue
        told = fate.choice(list(running))
        value, state = fate.random(), fate.choice(["COMPLETE", "COMPLETE", "PRUNED", "FAIL"])
        epoch = fate.randint(1, 3)
        assert history.report(told, epoch, value)
        running[told].report(value, epoch)
        history.end(told, TrialState[state], value if state == "COMPLETE" else None)
        study.tell(running.pop(told), value if state == "COMPLETE" else None, state=TrialState[state])


def test_beyond_the_limit_the_good_ones_and_the_most_recent_are_kept() -> None:
    limit = 10 * NUM_GOOD + 1
    values = {number: random.Random(number).random() for number in range(600)}
    history = History((ended(number, value) for number, value in values.items()), limit=limit)
    good = sorted(values, key=lambda number: -values[number])[:NUM_GOOD]
    others = sorted(set(values) - set(good))[-(limit - NUM_GOOD) :]
    assert numbers(history) == sorted([*good, *others])


def test_what_is_kept_does_not_depend_on_the_order_in_which_trials_ended() -> None:
    fate = random.Random(1)
    trials = [ended(n, round(fate.random(), 2), stopped_at=n % 5 if n % 3 == 0 and n % 5 else None) for n in range(700)]
    in_order = History(trials)
    fate.shuffle(trials)
    assert numbers(History(trials)) == numbers(in_order)
    assert len(in_order.trials) == HISTORY_LIMIT


def test_few_completed_trials_leave_room_for_stopped_ones_that_came_far() -> None:
    trials = [ended(n, n / 1000, stopped_at=3 if n == 7 else 1) for n in range(600)]
    trials[3] = ended(3, 0.0)  # the only one that completed
    kept = numbers(History(trials))
    assert kept[:2] == [3, 7]
    assert kept[2:] == list(range(600 - HISTORY_LIMIT + 2, 600))


def test_a_suggestion_looks_at_no_more_than_the_limit_and_what_is_running() -> None:
    history = History(ended(number, number / 2000) for number in range(2000))
    looked_at: list[int] = []

    class Counting(TPESampler):
        def sample_relative(self, study, trial, search_space):  # type: ignore[no-untyped-def]
            looked_at.append(len(study.get_trials(deepcopy=False)))
            return super().sample_relative(study, trial, search_space)

    for number in range(2000, 2004):
        history.suggest(number, Counting(seed=number, n_startup_trials=0, constant_liar=True), space)
    assert looked_at == [HISTORY_LIMIT + 1 + running for running in range(4)]


def test_a_limit_that_would_change_what_is_good_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 250 trials, got limit=250"):
        History(limit=250)


def test_an_epoch_counts_once() -> None:
    history = History()
    history.suggest(0, RandomSampler(seed=0), space)
    assert history.report(0, 1, 0.5)
    assert not history.report(0, 1, 0.6)
    assert history.trials[0].intermediate_values == {1: 0.5}


def test_a_failed_trial_teaches_nothing_and_a_finished_search_holds_nothing() -> None:
    history = History()
    for number in range(3):
        history.suggest(number, RandomSampler(seed=number), space)
    history.end(1, TrialState.FAIL, None)
    history.end(2, TrialState.COMPLETE, 0.5)
    assert numbers(history) == [0, 2]
    history.clear()
    assert not history.trials
