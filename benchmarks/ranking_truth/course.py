"""Simulated runs of backbones whose surfaces are known, kept as the tables that a sweep writes.

Correctness is drawn per example (probit: how hard an example is for everyone, for one backbone, in one run), so
two backbones fail on the same examples as real ones do: with these shares two backbones of 88 % disagree on a
tenth of the examples, two seeds of one on 7 %. The residuals of a regression are drawn the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import ndtri

from benchmarks.ranking_truth.model import Config, Model, Space
from benchmarks.ranking_truth.tables import configuration, recorded, results_table, trials_table

__all__ = ["Course", "Hardness", "hardness_of", "simulated"]

Array = npt.NDArray[np.float64]

COMMON, OWN, RUN = 0.83, 0.09, 0.08
"""Shares of the variance of an example's difficulty: for all, for one backbone, in one run."""

Hardness = Mapping[str, Array]
"""How hard each example of "test" and "val" is, without what is one run's own."""

_COLLAPSE = (0.1, 0.5)  # what a diverged run loses


def hardness_of(common: Hardness, rng: np.random.Generator) -> Hardness:
    """A backbone's own, from what is common to all (standard normal)."""
    return {key: COMMON**0.5 * u + OWN**0.5 * rng.standard_normal(u.size) for key, u in common.items()}


def simulated(
    level: float, seed_sd: float, own: Hardness, rng: np.random.Generator, metric: str = "accuracy"
) -> dict[str, Array]:
    """Each example's score in one run whose expected score is `level`: right or wrong, or its part of R2."""
    level = float(np.clip(level + rng.normal(0, seed_sd), 0.02, 0.999))
    errors = {key: part + RUN**0.5 * rng.standard_normal(part.size) for key, part in own.items()}
    if metric == "r2":
        # Residuals of a target with variance 1: what is hard for one backbone is hard for others too.
        return {key: 1 - (1 - level) * error**2 for key, error in errors.items()}
    return {key: error < ndtri(level) for key, error in errors.items()}


@dataclass(kw_only=True)
class Course:
    """The backbones of one task. Equal seeds give equal runs, whatever was run before.

    Args:
        models: by name.
        collapse: probability that a run diverges.
        num_random: trials that are drawn at random, the same for every backbone.
    """

    models: Mapping[str, Model]
    space: Space = field(default_factory=Space)
    seed: int = 0
    task: str = "t"
    num_random: int = 6
    num_val: int = 2_000
    num_test: int = 5_000
    collapse: float = 0.0
    trials: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        common = np.random.default_rng([self.seed, 0])
        sets = {"test": common.standard_normal(self.num_test), "val": common.standard_normal(self.num_val)}
        self._design = [self.space.draw(common) for _ in range(self.num_random)]
        self._own = {
            name: hardness_of(sets, np.random.default_rng([self.seed, 1, index]))
            for index, name in enumerate(self.models)
        }
        self.attainable = {name: model.attainable(self.space) for name, model in self.models.items()}

    @property
    def keys(self) -> list[str]:
        """The studies' keys."""
        return [f"{self.task}:{name}" for name in self.models]

    def design(self, number: int) -> Config:
        """The configuration of a trial of the random slice."""
        return self._design[number]

    def rng(self, name: str, purpose: int, number: int) -> np.random.Generator:
        """Of one run or choice of a backbone."""
        return np.random.default_rng([self.seed, 2, list(self.models).index(name), purpose, number])

    def run(
        self, name: str, number: int, phase: str, config: Config, rng: np.random.Generator
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train once: its row of trials and its row of tests."""
        model = self.models[name]
        level = model.of(config, self.space)
        if rng.random() < self.collapse:
            level -= rng.uniform(*_COLLAPSE)
        scores = simulated(level, model.seed_sd, self._own[name], rng)
        return recorded(number, phase, config, scores, backbone=name, task=self.task, space=self.space)

    def record(self, name: str, number: int, phase: str, config: Config) -> dict[str, Any]:
        """Train once and keep both rows; returns that of trials."""
        run, result = self.run(name, number, phase, config, self.rng(name, 0, number))
        self.trials.append(run)
        self.tests.append(result)
        return run

    def rows_of(self, name: str) -> list[dict[str, Any]]:
        """The trials of a backbone so far."""
        return [row for row in self.trials if row["backbone"] == name]

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """All trials and all tests so far."""
        return trials_table(self.trials), results_table(self.tests)

    def true_level(self, row: Mapping[str, Any]) -> float:
        """Expected accuracy of a trial's configuration."""
        return self.models[row["backbone"]].of(configuration(row), self.space)

    def gap(self, name: str) -> float:
        """How far what a backbone can reach lies below what the best can."""
        return max(self.attainable.values()) - self.attainable[name]
