"""Races of simulated backbones, by the rules that a sweep's race follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.ranking_truth.course import Course
from benchmarks.ranking_truth.model import Config
from benchmarks.ranking_truth.tables import configuration, trials_table
from orchestrator.ranking import choose
from orchestrator.ranking.race import propose
from orchestrator.ranking.study import read_runs
from orchestrator.ranking.surface import embed
from orchestrator.searching.allocation import Race, search_trials

__all__ = ["confirm", "run_race", "step"]

NUM_CANDIDATES: Final = 128


def step(course: Course, name: str) -> None:
    """One more trial of a backbone: of the random slice, then by Thompson sampling."""
    rows = course.rows_of(name)
    number = len(rows)
    if number < course.num_random:
        course.record(name, number, "random", course.design(number))
    else:
        course.record(name, number, "thompson", _followed(course, name, rows))


def _followed(course: Course, name: str, rows: Sequence[Mapping[str, Any]]) -> Config:
    rng = course.rng(name, 3, len(rows))
    drawn = [course.space.draw(rng) for _ in range(NUM_CANDIDATES)]
    depths, rates, heads = zip(*drawn, strict=True)
    candidates = embed(np.array(depths) / course.space.num_blocks, rates, np.array(heads))
    return drawn[propose(read_runs(trials_table(rows)), candidates, rng)]


def confirm(course: Course, name: str, repeats: int) -> None:
    """Train the chosen configuration again."""
    rows = course.rows_of(name)
    number = choose(trials_table(rows))
    best = next(row for row in rows if row["number"] == number)
    for index in range(repeats):
        course.record(name, len(rows) + index, "confirmation", configuration(best))


def run_race(course: Course, trials: int, *, repeats: int = 3, ahead: int = 0) -> Race:
    """Race until it ends, then confirm who is left.

    Args:
        trials: per backbone, as in a budget.
        repeats: confirmations of each.
        ahead: trials per study that are begun before a look, of those granted.
    """
    race = Race(course.keys, random_trials=course.num_random, trials=trials, seed=course.seed)
    names = dict(zip(course.keys, course.models, strict=True))
    ended: dict[str, set[int]] = {key: set() for key in names}
    while race.outcome is None:
        while not race.is_due(ended):
            _round(course, race, names, ended)
        for _ in range(ahead):
            _round(course, race, names, ended)
        race.look(search_trials(course.tables()[0]), {key: len(done) for key, done in ended.items()})
    for key in race.running:
        confirm(course, names[key], repeats)
    return race


def _round(course: Course, race: Race, names: Mapping[str, str], ended: dict[str, set[int]]) -> None:
    for key in race.running:
        if len(ended[key]) < race.granted[key]:
            step(course, names[key])
            ended[key].add(len(ended[key]))
