"""A small sweep over backbones of known truth, written as the tables that a sweep writes.

Surfaces and runs are those of `benchmarks.ranking_truth`; here trials are stopped, confirmations collapse, and what
follows the random trials is placed near the best so far, which takes no sampler.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.ranking_truth.course import Hardness, hardness_of, simulated
from benchmarks.ranking_truth.model import CHANCE, Config, Model, Space
from benchmarks.ranking_truth.tables import (
    configuration,
    on_regression,
    on_test,
    recorded,
    results_table,
    trial,
    trials_table,
)
from orchestrator.ranking import choose

__all__ = [
    "CHANCE",
    "NUM_BLOCKS",
    "RATE_RANGE",
    "Model",
    "World",
    "on_regression",
    "on_test",
    "random_models",
    "results_table",
    "trial",
    "trials_table",
]

SPACE = Space()
NUM_BLOCKS, RATE_RANGE, HEAD_RANGE = SPACE.num_blocks, SPACE.rates, SPACE.heads


@dataclass(kw_only=True)
class World:
    """Backbones on one task, and the sweep over them. Equal seeds give equal tables."""

    models: Mapping[str, Model]
    seed: int = 0
    task: str = "t"
    num_random: int = 5
    num_tpe: int = 3
    num_confirmations: int = 3
    num_test: int = 1000
    num_val: int = 500
    stopped: float = 0.0  # probability that a search trial is stopped early
    collapse: float = 0.0  # probability that a confirmation collapses
    metric: str = "accuracy"  # or "r2": then `Model.best` and all else is an R2
    maximise_validation: bool = False  # choose by the plain maximum instead of `choose`
    chosen: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # filled by `tables`

    def tables(self) -> tuple[pa.Table, pa.Table]:
        common = np.random.default_rng([self.seed, 0])
        hardness = {"test": common.standard_normal(self.num_test), "val": common.standard_normal(self.num_val)}
        design = [SPACE.draw(common) for _ in range(self.num_random)]
        trials: list[dict[str, Any]] = []
        tests: list[dict[str, Any]] = []
        for index, name in enumerate(self.models):
            rng = np.random.default_rng([self.seed, 1 + index])
            own = hardness_of(hardness, rng)
            rows: list[dict[str, Any]] = []
            for number in range(self.num_random + self.num_tpe):
                phase = "random" if number < self.num_random else "tpe"
                config = design[number] if phase == "random" else self._near_best(rows, rng)
                run, result = self._run(name, number, phase, config, own, rng)
                if rng.random() < self.stopped:
                    run |= {"state": "stopped", "epochs": 1, "val_score": 0.7 * run["val_score"]}
                rows.append(run)
                if run["state"] == "completed":
                    tests.append(result)
            done = [row for row in rows if row["state"] == "completed"]
            if done:
                best = max(done, key=lambda row: row["val_score"])
                if not self.maximise_validation:
                    number = choose(trials_table(rows))
                    best = next(row for row in rows if row["number"] == number)
                self.chosen[name] = best
                for extra in range(self.num_confirmations):
                    fallen = 0.2 if rng.random() < self.collapse else 0.0
                    number = self.num_random + self.num_tpe + extra
                    run, result = self._run(name, number, "confirmation", configuration(best), own, rng, fallen)
                    rows.append(run)
                    tests.append(result)
            trials += rows
        return trials_table(trials), results_table(tests)

    def true_score(self, name: str, quality: float = 0.75) -> float:
        """Attainable score: chance-normalised, best accuracy and the true tuning curve."""
        model = self.models[name]
        values = np.sort(model.grid(SPACE))
        share = (np.arange(values.size) + 1) / values.size
        curve = [float(values @ np.diff(share**n, prepend=0.0)) for n in (1, 2, 4, 8)]
        mixed = quality * values[-1] + (1 - quality) * float(np.mean(curve))
        chance = CHANCE if self.metric == "accuracy" else 0.0
        return (mixed - chance) / (1 - chance)

    def true_accuracy(self, name: str) -> float:
        """Expected accuracy of the configuration that was chosen."""
        return self.models[name].of(configuration(self.chosen[name]), SPACE)

    def _near_best(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> Config:
        """What TPE does in effect: sample around the better trials, now and then anywhere."""
        done = sorted((row for row in rows if row["state"] == "completed"), key=lambda row: -row["val_score"])
        if not done or rng.random() < 0.2:
            return SPACE.draw(rng)
        good = done[int(rng.integers(0, max(1, len(done) // 4)))]
        depth = int(np.clip(round(good["freeze_depth"] + rng.normal(0, 1.2)), 0, NUM_BLOCKS))
        start = math.log10(good["learning_rate"]) if good["learning_rate"] else rng.uniform(*RATE_RANGE)
        rate = float(np.clip(start + rng.normal(0, 0.5), *RATE_RANGE))
        head = float(np.clip(math.log10(good["head_learning_rate"]) + rng.normal(0, 0.6), *HEAD_RANGE))
        return depth, None if depth == NUM_BLOCKS else 10**rate, 10**head

    def _run(
        self,
        name: str,
        number: int,
        phase: str,
        config: Config,
        own: Hardness,
        rng: np.random.Generator,
        fallen: float = 0.0,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        model = self.models[name]
        scores = simulated(model.of(config, SPACE) - fallen, model.seed_sd, own, rng, self.metric)
        return recorded(number, phase, config, scores, backbone=name, task=self.task, space=SPACE, metric=self.metric)


def random_models(count: int, rng: np.random.Generator, spread: float = 0.05) -> dict[str, Model]:
    """Backbones whose best lies within `spread` below 0.88 and whose surfaces differ in shape."""
    return {
        f"m{index}": Model(
            best=0.88 - rng.uniform(0, spread),
            rate=rng.uniform(-3.8, -2.4),
            rate_cost=rng.uniform(0.005, 0.03),
            depth=rng.uniform(0, 0.8),
            depth_cost=rng.uniform(0.01, 0.10),
            cliff=rng.uniform(0.8, 1.6),
            seed_sd=rng.uniform(0.001, 0.009),
        )
        for index in range(count)
    }
