"""The search phase as a sweep does it, over simulated runs: a shared random slice, then Optuna's TPE."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState

from benchmarks.ranking_truth.course import Course
from benchmarks.ranking_truth.model import Config, Space
from orchestrator.searching.suggestion import History

__all__ = ["search"]

_SEARCH: Final = 1


def search(course: Course, name: str, num_trials: int) -> list[dict[str, Any]]:
    """Search trials of one backbone, kept in the course. The first of a longer search are a shorter one's."""
    history = History()
    rows = []
    for number in range(num_trials):
        phase = "random" if number < course.num_random else "tpe"
        seed = int(np.random.SeedSequence([course.seed, _SEARCH, number]).generate_state(1)[0])
        sampler = (
            RandomSampler(seed=seed)
            if phase == "random"
            else TPESampler(seed=seed, n_startup_trials=0, constant_liar=True)
        )
        config, _ = history.suggest(number, sampler, lambda trial: _suggested(trial, course.space))
        row = course.record(name, number, phase, config)
        history.end(number, TrialState.COMPLETE, row["val_score"])
        rows.append(row)
    return rows


def _suggested(trial: optuna.Trial, space: Space) -> Config:
    depth = trial.suggest_int("freeze_depth", 0, space.deepest)
    rate = None if depth == space.num_blocks else _rate(trial, "learning_rate", space.rates)
    head = _rate(trial, "head_learning_rate", space.heads)
    return depth, rate, head


def _rate(trial: optuna.Trial, name: str, range_: tuple[float, float]) -> float:
    low, high = range_
    if math.isclose(low, high):
        return float(10.0**low)
    return float(trial.suggest_float(name, 10.0**low, 10.0**high, log=True))
