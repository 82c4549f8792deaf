"""Where one study stands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.display.board.pace import Kind, kind_of
from orchestrator.planning.plan import StudyPlan
from orchestrator.recorder import Row
from orchestrator.workers.request import SEARCHED

__all__ = ["CONFIRMATION", "RANDOM", "SEARCH", "RunningRun", "StudyState"]

RANDOM: Final[Kind] = ("random", 1.0)
SEARCH: Final[Kind] = ("searched", 1.0)
CONFIRMATION: Final[Kind] = ("confirmation", 1.0)


@dataclass(slots=True)
class RunningRun:
    """A run that is under way."""

    number: int
    kind: Kind
    max_epochs: int
    epoch: int = 0
    """The last one completed."""
    is_first: bool = False
    """On its worker, which it waits for: that takes seconds, and no later run does."""
    epochs_s: float = 0.0
    """Of training and validation alone."""
    since: float = field(default_factory=time.perf_counter)
    """When it was handed out, for the first time or again."""

    @property
    def spent_s(self) -> float:
        return time.perf_counter() - self.since


@dataclass(slots=True)
class StudyState:
    """Where one study stands."""

    plan: StudyPlan
    name: str
    color: str
    num_trials: int
    """To be searched, as far as is known: in a race what has been granted."""
    is_confirmed: bool = True
    """False of one that a race dropped."""
    counts: Counter[str] = field(default_factory=Counter)
    """By state."""
    ended_by_kind: Counter[Kind] = field(default_factory=Counter)
    running: dict[int, RunningRun] = field(default_factory=dict)
    best: Mapping[str, Any] | None = None
    """The trial with the best validation score."""

    @property
    def ended(self) -> int:
        return self.counts.total()

    @property
    def num_searched(self) -> int:
        """Trials that have ended or are under way."""
        return self._begun(RANDOM) + self._begun(SEARCH)

    @property
    def is_searching(self) -> bool:
        is_open = any(kind in (RANDOM, SEARCH) for kind in self._kinds_running())
        return is_open or self.num_searched < self.num_trials

    @property
    def left(self) -> dict[Kind, int]:
        """Runs that have not begun, as far as is known."""
        trials = max(0, self.num_trials - self.num_searched)
        random = min(trials, max(0, self.plan.random_trials - self._begun(RANDOM)))
        return {RANDOM: random, SEARCH: trials - random, **self._repeats_left()}

    @property
    def total(self) -> int:
        """More than planned where an extended search chose anew, and confirms once more."""
        return self.ended + len(self.running) + sum(self.left.values())

    def start(self, run: Row, *, is_first: bool = False) -> None:
        kind = kind_of(run["phase"], run["train_frac"])
        self.running[run["number"]] = RunningRun(run["number"], kind, run["config"]["max_epochs"], is_first=is_first)

    def finish(self, trial: Row) -> RunningRun | None:
        """Returns what was known of the run while it was under way."""
        run = self.running.pop(trial["number"], None)
        self.counts[trial["state"]] += 1
        self.ended_by_kind[kind_of(trial["phase"], trial["train_frac"])] += 1
        is_better = trial["val_score"] is not None and (
            self.best is None or trial["val_score"] > self.best["val_score"]
        )
        if trial["phase"] in SEARCHED and is_better:
            self.best = trial
        return run

    def num_ended(self, what: str) -> int:
        """Runs of ``confirmation``, ``reduced``, ``random`` or ``searched``."""
        return sum(num for kind, num in self.ended_by_kind.items() if kind[0] == what)

    def _kinds_running(self) -> list[Kind]:
        return [run.kind for run in self.running.values()]

    def _begun(self, kind: Kind) -> int:
        return self.ended_by_kind[kind] + self._kinds_running().count(kind)

    def _repeats_left(self) -> dict[Kind, int]:
        """Confirmations and reduced runs: none where a race dropped the study, or no trial has a score."""
        kinds: list[Kind] = [CONFIRMATION, *(("reduced", frac) for frac in self.plan.train_fracs)]
        if not self.is_confirmed or (not self.is_searching and self.best is None):
            return dict.fromkeys(kinds, 0)
        return {kind: max(0, self.plan.confirmations - self._begun(kind)) for kind in kinds}
