"""Which study gets the next trial: all alike, or, in a race, those that may still be the best.

A race is a function of the table of finished trials. It looks once every study still in it has ended the
trials due by then, and each look sees the trials with smaller numbers only: whatever order trials end in,
and whoever looks again later, sees the same.

* Every study begins with the sweep's random trials, the same configurations for all.
* Then come rounds of `ROUND` trials for every study still in. While a round's last trials run, the next
  round's are handed out already, so that no slot waits.
* After each round a study is out when it is the best with probability below `DROP_BELOW`.
* The race ends ``confident`` when the leader is within `EPS` of the best with probability `CONFIDENCE` on two
  looks running; ``set-limited`` when, on two looks running, more trials would not decide it: even exactly
  known surfaces would leave it open, for the validation set is small; ``alone`` with one study left;
  ``budget`` when all trials there were are spent. What dropped studies leave goes to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import pyarrow as pa

from orchestrator.ranking.race import Standing, reach, standing
from orchestrator.ranking.study import Run, read_runs
from orchestrator.workers.request import SEARCHED

__all__ = ["Look", "Outcome", "Race", "replay", "search_trials"]

ROUND: Final = 2
DROP_BELOW: Final = 0.02
EPS: Final = 0.005
CONFIDENCE: Final = 0.95
HOPELESS: Final = 0.6
"""Probability that exactly known surfaces would not decide, from which on it is not worth going on."""

LOOKS: Final = 2
"""A single look is too easily lucky."""

Outcome = Literal["confident", "set-limited", "alone", "budget", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was seen after a round."""

    num_trials: int
    """Of each study still in: the trials numbered below it."""

    standing: Standing | None
    """None where no study has a completed trial."""

    dropped: tuple[str, ...]
    """Studies out from here on."""


class Race:
    """The race of one task's studies.

    Args:
        studies: keys, at least one.
        random_trials: of every study to begin with, >= 1.
        trials: per study; together they share so many times their number.
        seed: of the draws that probabilities are counted in.
    """

    def __init__(self, studies: Sequence[str], *, random_trials: int, trials: int, seed: int) -> None:
        self.studies = tuple(studies)
        self.running = list(studies)
        """Studies still in, in the plan's order."""
        self.looks: list[Look] = []
        self.outcome: Outcome | None = None
        self.granted = dict.fromkeys(studies, random_trials)
        """Trials each study may have begun by now."""
        self.total = trials * len(self.studies)
        self._due = random_trials
        self._taken: dict[str, int] = {}  # dropped study -> trials it had begun
        self._streaks = {"confident": 0, "set-limited": 0}
        self._seed = seed
        self._grant()

    @property
    def dropped(self) -> tuple[str, ...]:
        """Studies that are out, in the plan's order."""
        return tuple(study for study in self.studies if study not in self.running)

    def is_due(self, ended: Mapping[str, set[int]]) -> bool:
        """Whether every study still in has ended the trials of this round; `ended` holds their numbers."""
        if self.outcome is not None:
            return False
        return all(ended.get(study, set()).issuperset(range(self._due)) for study in self.running)

    def look(self, runs: Mapping[str, Sequence[Run]], taken: Mapping[str, int]) -> Look:
        """Look at what `is_due` says has ended, and decide.

        Args:
            runs: study -> its search trials so far.
            taken: study -> trials it has begun.
        """
        reaches = {}
        for index, study in enumerate(self.studies):
            seen = [run for run in runs.get(study, ()) if run.number < self._due]
            if study in self.running and any(run.scored for run in seen):
                reaches[study] = reach(seen, [self._seed, 5, index])
        now = standing(reaches, eps=EPS, confidence=CONFIDENCE, seed=self._seed) if reaches else None
        out = [study for study in self.running if now is None or _is_out(now, study)]
        look = Look(num_trials=self._due, standing=now, dropped=tuple(out))
        self.looks.append(look)
        for study in out:
            self.running.remove(study)
            self._taken[study] = taken[study]
        self.outcome = self._decide(now)
        if self.outcome is None and not self._advance():
            self.outcome = "budget"
        return look

    def _decide(self, now: Standing | None) -> Outcome | None:
        if now is None:
            return "failed"
        reached = {"confident": now.p_leader >= CONFIDENCE, "set-limited": now.p_undecidable >= HOPELESS}
        for name, holds in reached.items():
            self._streaks[name] = self._streaks[name] + 1 if holds else 0
        if self._streaks["confident"] >= LOOKS:
            return "confident"
        if len(self.running) == 1:
            return "alone"
        return "set-limited" if self._streaks["set-limited"] >= LOOKS else None

    def _advance(self) -> bool:
        """Begin the next round; False where no trials are left for one."""
        before = self._due
        if self.granted[self.running[0]] == before:  # nothing was handed out ahead, but trials may have come free
            self._grant()
        self._due = self.granted[self.running[0]]
        self._grant()
        return self._due > before

    def _grant(self) -> None:
        """Two more trials for every study still in, or what is left for all alike."""
        held = sum(self._taken.get(study, self.granted[study]) for study in self.studies)
        more = min(ROUND, (self.total - held) // len(self.running))
        for study in self.running:
            self.granted[study] += more


def _is_out(now: Standing, study: str) -> bool:
    return now.leader != study and now.p_best.get(study, 0.0) < DROP_BELOW


def replay(trials: pa.Table, studies: Sequence[str], *, random_trials: int, num_trials: int, seed: int) -> Race:
    """The race of one task as its finished trials tell it, as far as it went.

    Args:
        trials: columns of TRIALS; rows of other studies are left alone.
        studies: keys of the task's studies, in the plan's order.
        random_trials, num_trials, seed: of the sweep, as `Race` takes them.
    """
    race = Race(studies, random_trials=random_trials, trials=num_trials, seed=seed)
    runs = search_trials(trials)
    ended = {study: {run.number for run in members} for study, members in runs.items()}
    while race.is_due(ended):
        race.look(runs, {study: len(ended.get(study, ())) for study in studies})
    return race


def search_trials(trials: pa.Table, ordinal: Callable[[Run], int | None] | None = None) -> dict[str, list[Run]]:
    """Study -> its search trials, numbered by their place among them.

    Args:
        trials: columns of TRIALS.
        ordinal: that place; None takes a trial's number, less the numbers that an extended sweep gave before it
            to other runs.
    """
    runs = read_runs(trials)
    others: dict[str, list[int]] = {}
    for run in runs:
        if run.phase not in SEARCHED:
            others.setdefault(run.study, []).append(run.number)
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.phase not in SEARCHED:
            continue
        place = ordinal(run) if ordinal else run.number - sum(n < run.number for n in others.get(run.study, ()))
        if place is not None:
            found.setdefault(run.study, []).append(replace(run, number=place))
    return found
