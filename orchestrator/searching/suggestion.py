"""Suggestions whose cost does not grow with the study: what a sampler looks at is bounded."""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Callable, Container, Iterable
from typing import Final, TypeVar

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState

__all__ = ["HISTORY_LIMIT", "NUM_GOOD", "History"]

HISTORY_LIMIT: Final = 500
"""Ended trials that a sampler looks at. Up to here every suggestion is the one that all trials would give."""

NUM_GOOD: Final = 25
"""The most trials that TPE calls good: a tenth of all, never more than this."""

_LEARNT_FROM: Final = (TrialState.COMPLETE, TrialState.PRUNED)

T = TypeVar("T")


class History:
    """The trials of one study that its sampler looks at.

    TPE divides the density of the good trials by that of all others, in which a trial weighs the less the
    older it is. Beyond `limit` ended trials the good ones are kept whatever their age, so that their density
    stays exactly what all trials would give, and of the others the most recent ones. What is kept depends on
    the trials alone, not on the order in which they ended.

    Args:
        trials: of the study so far, numbered as their study numbers them.
        limit: of ended trials, more than ten times `NUM_GOOD`: with fewer TPE would call fewer good.
    """

    def __init__(self, trials: Iterable[FrozenTrial] = (), *, limit: int = HISTORY_LIMIT) -> None:
        if limit <= 10 * NUM_GOOD:
            raise ValueError(f"a history must hold more than {10 * NUM_GOOD} trials, got limit={limit}")
        self._limit = limit
        self._running: dict[int, FrozenTrial] = {}
        self._ended: dict[int, FrozenTrial] = {}
        self._merits: dict[int, tuple[float, ...]] = {}  # of the ended ones, which nothing changes any more
        for trial in trials:
            self.add(trial)
            if trial.state.is_finished():
                self.end(trial.number, trial.state, trial.value)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Running and ended ones, in their order."""
        known = self._running | self._ended
        return [known[number] for number in sorted(known)]

    def suggest(self, number: int, sampler: BaseSampler, space: Callable[[Trial], T]) -> tuple[T, FrozenTrial]:
        """What `space` draws from trial `number`, and that trial, which is running from now on."""
        moment = _Moment(self.trials)
        trial = optuna.create_study(storage=moment, sampler=sampler, direction="maximize").ask()
        drawn = space(trial)
        self._running[number] = _renumbered(moment.asked, number)
        return drawn, moment.asked

    def add(self, trial: FrozenTrial) -> None:
        """A trial that was suggested before, as a running one, with what it has reported."""
        running = _renumbered(trial, trial.number)
        running.state, running.values = TrialState.RUNNING, None
        self._running[trial.number] = running

    def report(self, number: int, epoch: int, value: float) -> bool:
        """A running trial has come so far. Returns whether that is news: an epoch counts once."""
        values = self._running[number].intermediate_values
        is_news = epoch not in values
        if is_news:
            values[epoch] = value
        return is_news

    def end(self, number: int, state: TrialState, value: float | None) -> None:
        """A running trial has ended. From a failed one nothing is learnt."""
        trial = self._running.pop(number)
        if state not in _LEARNT_FROM:
            return
        trial.state, trial.value = state, value
        self._ended[number], self._merits[number] = trial, _merit(trial)
        if len(self._ended) > self._limit:
            good = heapq.nsmallest(NUM_GOOD, self._merits, key=self._merits.__getitem__)
            dropped = min(self._ended.keys() - good)
            del self._ended[dropped], self._merits[dropped]

    def clear(self) -> None:
        """Nothing more will be suggested."""
        self._running.clear()
        self._ended.clear()
        self._merits.clear()


class _Moment(InMemoryStorage):
    """Holds the one trial that is being suggested and shows the sampler the others beside it.

    Its own is number 0 and the others are counted from 1: samplers tell trials apart by their number.
    """

    def __init__(self, others: list[FrozenTrial]) -> None:
        super().__init__()
        self._others = others

    @property
    def asked(self) -> FrozenTrial:
        """The trial that is being suggested."""
        [trial] = super().get_all_trials(0, deepcopy=False)
        return trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        others = [trial for trial in self._others if states is None or trial.state in states]
        mine = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return [*(copy.deepcopy(others) if deepcopy else others), *mine]


def _renumbered(trial: FrozenTrial, number: int) -> FrozenTrial:
    """A copy, counted from 1, that may be told more."""
    trial = copy.copy(trial)
    trial.number = number + 1
    trial.intermediate_values = dict(trial.intermediate_values)
    return trial


def _merit(trial: FrozenTrial) -> tuple[float, ...]:
    """TPE's order, the best first: completed ones by value, then stopped ones by how far they came."""
    if trial.state == TrialState.COMPLETE:
        return 0, _cost(trial.value), 0, trial.number
    step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return 1, -step, _cost(value), trial.number


def _cost(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else -value
