"""One world at a time: what rankers say of it, how a race in it ends, and how that compares with its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from benchmarks.ranking_truth.course import Course
from benchmarks.ranking_truth.figures import MARGIN, judged
from benchmarks.ranking_truth.racing import run_race
from benchmarks.ranking_truth.rankers import RANKERS
from benchmarks.ranking_truth.scenario import SCENARIOS, SPACE
from benchmarks.ranking_truth.search import search
from orchestrator.ranking import RaceEnd, rank

__all__ = ["NUM_RANDOM", "RACE_CAP", "Job", "new_course", "one_thread", "raced", "ranked", "run"]

NUM_RANDOM: Final = 10
"""Random trials before TPE, for every ranker."""

RACE_RANDOM: Final = 6
RACE_CAP: Final = 48
"""Trials per backbone that a race may take, and that equal shares would."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One world of one scenario, ranked or raced."""

    kind: str
    """"rank" or "race"."""

    scenario: str
    seed: int
    trials: tuple[int, ...]
    """Per backbone: of a ranking every number to look at, of a race the most."""


def one_thread() -> None:
    """For a process of several: the linear algebra's threads would wait for each other."""
    threadpool_limits(1)


def run(job: Job) -> dict[str, Any]:
    """The job's fields and its results, ready for JSON."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = ranked(job) if job.kind == "rank" else raced(job)
    return {**asdict(job), "trials": list(job.trials), "found": found}


def new_course(scenario: str, seed: int, num_random: int) -> Course:
    """A world: equal arguments give equal ones, and worlds of two scenarios share nothing."""
    drawn_from = SCENARIOS[scenario]
    index = list(SCENARIOS).index(scenario)
    return Course(
        models=drawn_from.models(np.random.default_rng([41, index, seed])),
        space=SPACE,
        seed=1_000_000 * (1 + index) + seed,
        num_random=num_random,
        num_val=drawn_from.num_val,
        num_test=drawn_from.num_test,
        collapse=drawn_from.collapse,
    )


def ranked(job: Job) -> dict[str, dict[str, dict[str, float]]]:
    """Ranker -> trials per backbone -> figures."""
    course = new_course(job.scenario, job.seed, NUM_RANDOM)
    for name in course.models:
        search(course, name, max(job.trials))
    truth = np.array(list(course.attainable.values()))
    return {
        ranker: {str(trials): judged(claim(course, trials), truth) for trials in job.trials}
        for ranker, claim in RANKERS.items()
    }


def raced(job: Job) -> dict[str, Any]:
    """How a race ended, and whether those it put first are within MARGIN of the best."""
    [trials] = job.trials
    course = new_course(job.scenario, job.seed, RACE_RANDOM)
    race = run_race(course, trials)
    last = race.looks[-1].standing
    ends = RaceEnd(dropped={key.partition(":")[2]: "dropped" for key in race.dropped}, sentence="race")
    table = rank(*course.tables(), races={course.task: ends}).table.to_pylist()
    first = next(row["backbone"] for row in table if row["rank"] == 1)
    leader = last.leader.partition(":")[2] if last else None
    return {
        "outcome": race.outcome,
        "trials": sum(row["phase"] != "confirmation" for row in course.trials),
        "budget": race.total,
        "good": course.gap(first) <= MARGIN,  # the first after confirmation
        "leader_good": leader is not None and course.gap(leader) <= MARGIN,
        "p_leader": last.p_leader if last else None,
        "best_dropped": min(course.gap(name) for name in _names(race.running)) > MARGIN,
    }


def _names(keys: Sequence[str]) -> list[str]:
    return [key.partition(":")[2] for key in keys]
