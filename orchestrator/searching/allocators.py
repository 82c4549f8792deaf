"""Whose turn it is: what a searcher asks when a slot is free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa

from orchestrator.config import SweepConfig
from orchestrator.searching.allocation import Race, search_trials
from orchestrator.searching.study import Study

__all__ = ["Allocator", "EqualShares", "Races", "make_allocator"]


class Allocator(Protocol):
    """Decides in which order studies are offered a free slot, and in a race how many trials they get."""

    def order(self) -> Sequence[Study]: ...
    def ended(self, study: str, number: int) -> None:
        """A trial or confirmation has ended, and is in the table of trials."""


def make_allocator(
    config: SweepConfig,
    studies: Sequence[Study],
    trials: Callable[[], pa.Table],
    watch: Callable[[Race], None] = lambda race: None,
) -> Allocator:
    """As the budget says.

    Args:
        studies: in the plan's order.
        trials: reads the finished trials (validation only).
        watch: is told when a race begins, and what it decides.
    """
    if config.budget.allocation == "race":
        return Races(studies, seed=config.seed, trials=trials, watch=watch)
    return EqualShares(studies)


class EqualShares:
    """The study that has been handed the least comes first, so that all advance alike."""

    def __init__(self, studies: Sequence[Study]) -> None:
        self._studies = studies

    def order(self) -> Sequence[Study]:
        return sorted(self._studies, key=lambda study: study.num_handed)

    def ended(self, study: str, number: int) -> None:
        """Nothing depends on it."""


class Races:
    """One race per task; the studies still in advance alike.

    Args:
        studies: in the plan's order.
        seed: of the sweep.
        trials: reads the finished trials (validation only).
        watch: is told when a race begins, and what it decides.
    """

    def __init__(
        self,
        studies: Sequence[Study],
        *,
        seed: int,
        trials: Callable[[], pa.Table],
        watch: Callable[[Race], None] = lambda race: None,
    ) -> None:
        self._studies = {study.key: study for study in studies}
        self._trials = trials
        self._watch = watch
        self._ended: defaultdict[str, set[int]] = defaultdict(set)
        by_task: defaultdict[str, list[Study]] = defaultdict(list)
        for study in studies:
            by_task[study.plan.task.name].append(study)
        self.races = [
            Race(
                [study.key for study in members],
                random_trials=members[0].plan.random_trials,
                trials=members[0].plan.trials,
                seed=seed,
            )
            for members in by_task.values()
        ]
        for row in trials().select(["study", "number"]).to_pylist():
            if row["study"] in self._studies:
                self.ended(row["study"], row["number"])
        for race in self.races:
            self._tell(race)

    def order(self) -> Sequence[Study]:
        for race in self.races:
            while race.is_due(self._ended):
                runs = search_trials(self._trials(), lambda run: self._studies[run.study].ordinal(run.number))
                race.look(runs, {key: study.num_suggested for key, study in self._studies.items()})
                self._tell(race)
        return sorted(self._studies.values(), key=lambda study: study.num_handed)

    def ended(self, study: str, number: int) -> None:
        ordinal = self._studies[study].ordinal(number)
        if ordinal is not None:
            self._ended[study].add(ordinal)

    def _tell(self, race: Race) -> None:
        """Let the studies know what the race has decided."""
        for key in race.running:
            if race.outcome is None:
                self._studies[key].grant(race.granted[key])
            else:
                self._studies[key].close(confirm=True)
        for key in race.looks[-1].dropped if race.looks else ():
            self._studies[key].close(confirm=False)
        self._watch(race)
