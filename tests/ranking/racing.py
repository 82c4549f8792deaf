"""Races of the backbones of a `World`, and searches of the same kind with equal shares for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from world import NUM_BLOCKS, Model, World, results_table, trials_table

from orchestrator.allocation import Race, search_trials
from orchestrator.ranking import choose
from orchestrator.ranking.race import propose
from orchestrator.ranking.study import read_runs
from orchestrator.ranking.surface import embed

Row = dict[str, Any]


@dataclass(kw_only=True)
class Course(World):
    """A world whose trials are run one after another; the first `num_random` are the same for all."""

    num_random: int = 6
    num_val: int = 2_000
    num_test: int = 5_000
    candidates: int = 128
    trials: list[Row] = field(default_factory=list)
    tests: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        common = np.random.default_rng([self.seed, 0])
        hardness = {
            "test": common.standard_normal(self.num_test),
            "val": common.standard_normal(self.num_val),
        }
        self._design = [self._random(common) for _ in range(self.num_random)]
        self._rngs = {name: np.random.default_rng([self.seed, 1 + k]) for k, name in enumerate(self.models)}
        self._own = {
            name: {key: 0.83**0.5 * u + 0.09**0.5 * rng.standard_normal(u.size) for key, u in hardness.items()}
            for name, rng in self._rngs.items()
        }

    @property
    def keys(self) -> list[str]:
        return [f"{self.task}:{name}" for name in self.models]

    def rows_of(self, name: str) -> list[Row]:
        return [row for row in self.trials if row["backbone"] == name]

    def search(self, name: str, *, thompson: bool = True) -> None:
        """One more trial of a backbone: random, then by Thompson sampling or as TPE would."""
        rows, rng = self.rows_of(name), self._rngs[name]
        if len(rows) < self.num_random:
            self._record(name, len(rows), "random", self._design[len(rows)])
        elif thompson:
            self._record(name, len(rows), "thompson", self._followed(rows, rng))
        else:
            self._record(name, len(rows), "tpe", self._near_best(rows, rng))

    def confirm(self, name: str) -> None:
        """Train the chosen configuration again."""
        rows = self.rows_of(name)
        number = choose(trials_table(rows))
        best = next(row for row in rows if row["number"] == number)
        self.chosen[name] = best
        config = (best["freeze_depth"], best["learning_rate"], best["head_learning_rate"])
        for extra in range(self.num_confirmations):
            self._record(name, len(rows) + extra, "confirmation", config)

    def tables(self) -> tuple[pa.Table, pa.Table]:
        return trials_table(self.trials), results_table(self.tests)

    def _followed(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> tuple[int, float | None, float]:
        drawn = [self._random(rng) for _ in range(self.candidates)]
        depths, rates, heads = zip(*drawn, strict=True)
        candidates = embed(np.array(depths) / NUM_BLOCKS, rates, np.array(heads))
        return drawn[propose(read_runs(trials_table(rows)), candidates, rng)]

    def _record(self, name: str, number: int, phase: str, config: tuple[int, float | None, float]) -> None:
        run, result = self._run(name, self.models[name], number, phase, config, self._own[name], self._rngs[name])
        self.trials.append(run)
        self.tests.append(result)

    def best_name(self) -> str:
        return max(self.models, key=lambda name: self.models[name].attainable)

    def gap(self, name: str) -> float:
        """How far what a backbone can reach lies below what the best can."""
        return self.models[self.best_name()].attainable - self.models[name].attainable


def run_race(course: Course, trials: int, *, ahead: int = 0) -> Race:
    """Race until it ends, then confirm who is left.

    Args:
        trials: per backbone, as in a budget.
        ahead: trials per study that are begun before a look, of those granted.
    """
    race = Race(course.keys, random_trials=course.num_random, trials=trials, seed=course.seed)
    names = dict(zip(course.keys, course.models, strict=True))
    ended: dict[str, set[int]] = {key: set() for key in names}
    while race.outcome is None:
        while not race.is_due(ended):
            for key in race.running:
                if len(ended[key]) < race.granted[key]:
                    course.search(names[key])
                    ended[key].add(len(ended[key]))
        for _ in range(ahead):
            for key in race.running:
                if len(ended[key]) < race.granted[key]:
                    course.search(names[key])
                    ended[key].add(len(ended[key]))
        race.look(search_trials(course.tables()[0]), {key: len(done) for key, done in ended.items()})
    for key in race.running:
        course.confirm(names[key])
    return race


def run_equal(course: Course, trials: int, *, thompson: bool = False) -> None:
    """Give every backbone so many trials, then confirm each."""
    for name in course.models:
        for _ in range(trials):
            course.search(name, thompson=thompson)
        course.confirm(name)


__all__ = ["Course", "Model", "run_equal", "run_race"]
