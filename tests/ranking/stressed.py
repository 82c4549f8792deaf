"""A sweep whose confirmations were measured under perturbations, and repeated on less training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from world import CHANCE, SPACE, World, results_table, trials_table

from benchmarks.ranking_truth.course import Hardness, simulated
from benchmarks.ranking_truth.model import Config
from benchmarks.ranking_truth.tables import configuration, recorded

__all__ = ["StressedWorld"]

_NUM_PERTURBATIONS = 6
_FEW = 0.05  # points of 1 that a tenth of the data costs


@dataclass(kw_only=True)
class StressedWorld(World):
    """`World` under four conditions. What a backbone loses depends on its name's place."""

    train_fracs: tuple[float, ...] = (0.1, 0.3)
    num_reduced: int = 2
    num_perturbed: int = 200
    owns: dict[str, Hardness] = field(default_factory=dict)

    def hurt(self, name: str) -> float:
        """What perturbed inputs cost."""
        return 0.08 + 0.02 * list(self.models).index(name)

    def few(self, name: str, frac: float) -> float:
        """What a share of the training set costs."""
        return float(_FEW * -np.log10(frac) * (1 + 0.2 * list(self.models).index(name)))

    def tables(self) -> tuple[pa.Table, pa.Table]:
        trials, tests = super().tables()
        more: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for name, chosen in self.chosen.items():
            rng = np.random.default_rng([self.seed, 99, list(self.models).index(name)])
            number = 100
            for frac in self.train_fracs:
                for _ in range(self.num_reduced):
                    more.append(self._reduced(name, number, frac, configuration(chosen), rng))
                    number += 1
        rows = [trials.to_pylist() + [run for run, _ in more], tests.to_pylist() + [result for _, result in more]]
        return trials_table(rows[0]), results_table(rows[1])

    def true_found(self, name: str, weights: Mapping[str, float]) -> float:
        """Score of the configuration that was chosen."""
        level = self.true_accuracy(name)
        values = np.sort(self.models[name].grid(SPACE))
        share = (np.arange(values.size) + 1) / values.size
        ease = np.mean([float(values @ np.diff(share**n, prepend=0.0)) for n in (1, 2, 4, 8)])
        few = np.mean([level, *(level - self.few(name, frac) for frac in self.train_fracs)])
        parts = {"quality": level, "ease": ease, "data_efficiency": few, "robustness": level - self.hurt(name)}
        return float(sum(weights[key] * (parts[key] - CHANCE) / (1 - CHANCE) for key in weights))

    def _reduced(
        self, name: str, number: int, frac: float, config: Config, rng: np.random.Generator
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        model = self.models[name]
        level = model.of(config, SPACE) - self.few(name, frac)
        scores = simulated(level, 1.5 * model.seed_sd, self.owns[name], rng)
        run, result = recorded(number, "reduced", config, scores, backbone=name, task=self.task, space=SPACE)
        return run | {"train_frac": frac}, result

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
        self.owns[name] = own
        if phase != "confirmation":
            return super()._run(name, number, phase, config, own, rng, fallen)
        model = self.models[name]
        level = model.of(config, SPACE) - fallen + rng.normal(0, model.seed_sd)  # one seed, clean and perturbed
        run, result = recorded(
            number, phase, config, simulated(level, 0.0, own, rng), backbone=name, task=self.task, space=SPACE
        )
        if self.num_perturbed:
            few = np.random.default_rng(self.seed).permutation(self.num_test)[: self.num_perturbed]
            some = {"test": own["test"][few], "val": own["val"][:1]}
            draws = [simulated(level - self.hurt(name), 0.0, some, rng)["test"] for _ in range(_NUM_PERTURBATIONS)]
            parts = np.mean(draws, axis=0)
            result |= {"perturbed_score": float(parts.mean()), "perturbed_example_scores": parts.tolist()}
        return run, result
