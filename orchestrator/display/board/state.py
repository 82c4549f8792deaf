"""Where a sweep stands, from what its boards are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.display.board.pace import Pace, kind_of
from orchestrator.display.board.study_state import CONFIRMATION, SEARCH, RunningRun, StudyState
from orchestrator.evaluated import Evaluated
from orchestrator.planning.plan import Plan
from orchestrator.recorder import Row
from orchestrator.tracking.color import colors
from orchestrator.tracking.naming import short_names

if TYPE_CHECKING:
    from orchestrator.searching.allocation import Race

__all__ = ["SweepState"]


class SweepState:
    """Of all studies, with the time left.

    Whoever reads more than one thing of it from another thread holds `lock`. Nobody may print while holding it: a
    live display has a lock of its own, under which it reads this.
    """

    def __init__(self, plan: Plan) -> None:
        names = list(dict.fromkeys(study.backbone.name for study in plan.studies))
        short, color = short_names(names), colors(names)
        several = len({study.task.name for study in plan.studies}) > 1
        self.is_race = plan.allocation == "race"
        self.studies = {
            study.key: StudyState(
                plan=study,
                name=(f"{study.task.name} " if several else "") + short[study.backbone.name],
                color=color[study.backbone.name],
                num_trials=study.random_trials if self.is_race else study.trials,
            )
            for study in plan.studies
        }
        self.slots: int | None = None
        """Runs at a time; None before it is known."""
        self.has_begun = False
        self.lock = threading.RLock()
        self._num_started = 0
        self._pace = Pace(plan)
        self._created = time.perf_counter()
        self._races: dict[str, Race] = {}  # by the first of its studies
        self._extra = 0 if not self.is_race else sum(study.trials - study.random_trials for study in plan.studies)
        self._told: set[str] = set()

    @property
    def ended(self) -> int:
        return sum(study.ended for study in self.studies.values())

    @property
    def total(self) -> int:
        """In a race, the most it can be."""
        return sum(study.total for study in self.studies.values()) + self._extra

    @property
    def is_total_known(self) -> bool:
        """Not before a race has ended: it may end with fewer runs."""
        return self._extra == 0

    @property
    def num_running(self) -> int:
        return sum(len(study.running) for study in self.studies.values())

    @property
    def running(self) -> Iterator[tuple[StudyState, RunningRun]]:
        for study in self.studies.values():
            for run in study.running.values():
                yield study, run

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._created

    @property
    def phase(self) -> str:
        """What is being done, in a few words."""
        if not self.has_begun:
            return "starting: Ray, data and backbones"
        if self.ended >= self.total:
            return "ranking and writing the report"
        searching = any(study.is_searching for study in self.studies.values()) or bool(self._extra)
        confirming = any(run.kind[0] in ("confirmation", "reduced") for _, run in self.running)
        if searching and confirming:
            return "searching and confirming"
        search = "racing" if self.is_race else "searching"
        return search if searching else "confirming"

    @property
    def is_measured(self) -> bool:
        """Whether `left_s` rests on runs that have ended, and not on the plan alone."""
        return self._pace.is_measured

    @property
    def left_s(self) -> float | None:
        """In a race, the most it can be; None where nothing tells."""
        parts = [*self._waiting(), *self._under_way()]
        total_s, num, longest_s = 0.0, 0, 0.0
        for runs, cost_s in parts:
            if cost_s is None:
                return None
            total_s, num, longest_s = total_s + runs * cost_s, num + runs, max(longest_s, cost_s)
        slots = self.slots or max(1, self.num_running)
        return max(total_s / max(1, min(slots, num)), longest_s)

    def resume(self, trials: Sequence[Row]) -> None:
        """Count runs that ended before this board was there."""
        with self.lock:
            for trial in trials:
                self.studies[trial["study"]].finish(trial)
                self._learn(trial, (trial["finished_at"] - trial["started_at"]).total_seconds())

    def start(self, run: Row) -> None:
        with self.lock:
            self.has_begun = True
            self._num_started += 1
            self.studies[run["study"]].start(run, is_first=self._num_started <= (self.slots or 1))

    def epoch(self, row: Row) -> RunningRun | None:
        """Returns the run that completed it, if it is under way."""
        with self.lock:
            run = self.studies[row["study"]].running.get(row["number"])
            if run is not None:
                run.epoch = max(run.epoch, row["epoch"])
                run.epochs_s += (row["train_s"] or 0.0) + (row["eval_s"] or 0.0)
            return run

    def finish(self, trial: Row) -> None:
        with self.lock:
            self.has_begun = True
            run = self.studies[trial["study"]].finish(trial)
            if run is not None and run.is_first and run.epochs_s:
                # Its duration tells of its worker's start.
                self._learn({**trial, "duration_s": run.epochs_s}, run.epochs_s)
            else:
                self._learn(trial, trial["duration_s"] if run is None else run.spent_s)

    def raced(self, race: Race) -> list[str]:
        """Follow a race. Returns what there is to say of it, once."""
        with self.lock:
            self._races[race.studies[0]] = race
            for key in race.studies:
                study = self.studies[key]
                is_in = key in race.running
                is_granted = is_in and race.outcome is None
                study.num_trials = race.granted[key] if is_granted else study.num_searched
                study.is_confirmed = is_in and race.outcome != "failed"
            self._extra = sum(self._ungranted(race) for race in self._races.values())
        return self._once(self._race_news(race))

    def news(self, evaluated: Evaluated | None) -> list[str]:
        """What could not be evaluated, once for each study: its confirmations fail alike."""
        if evaluated is None:
            return []
        return self._once([f"{self.studies[evaluated.study].name}: {failure}" for failure in evaluated.failures])

    def _learn(self, trial: Row, held_s: float) -> None:
        """
        Args:
            held_s: what a slot was held for.
        """
        kind = kind_of(trial["phase"], trial["train_frac"])
        # What a confirmation is measured with comes after its duration.
        once = (trial["num_attempts"] or 1) == 1
        cost = held_s if kind == CONFIRMATION and once else trial["duration_s"]
        if cost is not None:
            self._pace.learn(trial["study"], kind, cost_s=cost, epochs=trial["epochs"])

    def _waiting(self) -> Iterator[tuple[int, float | None]]:
        """Runs that have not begun, in numbers, with what each is expected to cost."""
        for key, study in self.studies.items():
            for kind, num in study.left.items():
                if num:
                    yield num, self._pace.run_s(key, kind)
        if self._extra:
            yield self._extra, self._extra_s()

    def _under_way(self) -> Iterator[tuple[int, float | None]]:
        """The same of what is left of every run that has."""
        for study, run in self.running:
            cost = self._pace.run_s(study.plan.key, run.kind)
            yield 1, None if cost is None else max(0.0, cost - run.spent_s)

    def _ungranted(self, race: Race) -> int:
        if race.outcome is not None:
            return 0
        return max(0, race.total - sum(self.studies[key].num_trials for key in race.studies))

    def _extra_s(self) -> float | None:
        """Of one more trial of a race: studies still in get them alike."""
        keys = [key for race in self._races.values() if race.outcome is None for key in race.running]
        costs = [self._pace.run_s(key, SEARCH) for key in keys or self.studies]
        known = [cost for cost in costs if cost is not None]
        return sum(known) / len(known) if known and len(known) == len(costs) else None

    def _race_news(self, race: Race) -> list[str]:
        news = []
        for look in race.looks:
            for key in look.dropped:
                chance = 0.0 if look.standing is None else look.standing.p_best.get(key, 0.0)
                name = self.studies[key].name
                news.append(f"{name} is out after {look.num_trials} trials: the best with probability {chance:.1%}")
        if race.outcome is not None:
            names = ", ".join(self.studies[key].name for key in race.running)
            task = self.studies[race.studies[0]].plan.task.name
            rest = "no trial has a score" if race.outcome == "failed" else f"to be confirmed: {names}"
            news.append(f"the race on {task} is over ({race.outcome}); {rest}")
        return news

    def _once(self, sentences: Sequence[str]) -> list[str]:
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._told]
        self._told.update(new)
        return new
