"""A small synthetic world with known truth, written as the tables a sweep writes.

A backbone's surface is quadratic in log10 learning_rate around an optimum that moves with depth, quadratic in
depth, with a cliff where training diverges; correctness is drawn per example (probit: how hard an example is
for everyone, for one backbone, in one run), so two backbones fail on the same examples as real ones do.
The residuals of a regression are drawn the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from orchestrator.ranking import choose
from orchestrator.records import TESTS, TRIALS

NUM_BLOCKS = 8
RATE_RANGE = (-5.0, -1.5)
HEAD_RANGE = (-4.0, -1.0)
CHANCE = 0.1


def trial(number: int = 0, *, backbone: str = "a", task: str = "t", **fields: Any) -> dict[str, Any]:
    """One TRIALS row: a completed random trial at mid depth unless told otherwise."""
    depth = fields.get("freeze_depth", NUM_BLOCKS // 2)
    row: dict[str, Any] = dict.fromkeys(TRIALS.names)
    row |= {"study": f"{task}:{backbone}", "number": number, "task": task, "backbone": backbone}
    row |= {"phase": "random", "state": "completed", "seed": number, "freeze_depth": depth}
    row |= {"num_blocks": NUM_BLOCKS, "tune_stop": NUM_BLOCKS, "freeze_frac": depth / NUM_BLOCKS}
    row |= {"head_init": "random", "stay_near": 0.0}
    row |= {"learning_rate": None if depth == NUM_BLOCKS else 1e-3, "head_learning_rate": 1e-2}
    row |= {"weight_decay": 0.0, "batch_size": 32, "max_epochs": 3, "epochs": 3, "config": "{}"}
    row |= {"metric": "accuracy", "val_score": 0.8, "num_val": 500, "train_s": 8.0, "duration_s": 10.0}
    return row | fields


def on_test(number: int = 0, *, backbone: str = "a", task: str = "t", correct: Any, **fields: Any) -> dict[str, Any]:
    """One TESTS row from per-example correctness."""
    bits = np.asarray(correct, dtype=bool)
    accuracy = float(bits.mean())
    row: dict[str, Any] = {"study": f"{task}:{backbone}", "number": number, "metric": "accuracy"}
    row |= {"test_score": accuracy, "test_loss": 1.0, "test_accuracy": accuracy, "test_f1_macro": accuracy}
    row |= {"chance": CHANCE, "num_test": bits.size, "correct": np.packbits(bits).tobytes()}
    return row | fields


def on_regression(
    number: int = 0, *, backbone: str = "a", task: str = "t", scores: Any, **fields: Any
) -> dict[str, Any]:
    """One TESTS row of a regression from each example's part of R2."""
    values = np.asarray(scores, dtype=np.float32)
    r2 = float(values.mean(dtype=np.float64))
    row: dict[str, Any] = {"study": f"{task}:{backbone}", "number": number, "metric": "r2", "test_score": r2}
    row |= {"test_loss": 1 - r2, "test_r2": r2, "test_mae": 1.0, "test_mse": 1 - r2, "chance": 0.0}
    return row | {"num_test": values.size, "example_scores": values.tolist()} | fields


def trials_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=TRIALS)


def results_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=TESTS)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A backbone's true surface. Rates in log10, losses in fractions."""

    best: float = 0.88
    rate: float = -3.0  # best log10 learning_rate when everything tunes
    rate_shift: float = 0.5  # decades it falls from full tuning to the last block
    rate_cost: float = 0.015  # per squared decade
    depth: float = 0.3  # best freeze_frac
    depth_cost: float = 0.05  # per squared freeze_frac
    head_cost: float = 0.002
    cliff: float = 1.2  # decades above the best rate where training starts to diverge
    seed_sd: float = 0.004

    def accuracy(self, freeze_frac: float, rate: float | None, head: float) -> float:
        """Expected accuracy; `rate` None is the linear probe."""
        loss = self.depth_cost * (freeze_frac - self.depth) ** 2 + self.head_cost * (head + 2.5) ** 2
        if rate is not None:
            away = rate - (self.rate - self.rate_shift * freeze_frac)
            loss += self.rate_cost * away**2 + 0.25 * max(away - self.cliff, 0.0)
        return max(self.best - loss, CHANCE)

    def grid(self) -> np.ndarray:
        """True accuracies on a grid of the space, every value equally likely under random search."""
        return np.array(
            [
                self.accuracy(depth / NUM_BLOCKS, None if depth == NUM_BLOCKS else rate, head)
                for depth in range(NUM_BLOCKS + 1)
                for rate in np.linspace(*RATE_RANGE, 25)
                for head in np.linspace(*HEAD_RANGE, 7)
            ]
        )

    @property
    def attainable(self) -> float:
        return float(self.grid().max())


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
        hardness = {
            "test": common.standard_normal(self.num_test),
            "val": common.standard_normal(self.num_val),
        }
        design = [self._random(common) for _ in range(self.num_random)]
        trials: list[dict[str, Any]] = []
        tests: list[dict[str, Any]] = []
        for index, (name, model) in enumerate(self.models.items()):
            rng = np.random.default_rng([self.seed, 1 + index])
            own = {key: 0.83**0.5 * u + 0.09**0.5 * rng.standard_normal(u.size) for key, u in hardness.items()}
            rows: list[dict[str, Any]] = []
            for number in range(self.num_random + self.num_tpe):
                phase = "random" if number < self.num_random else "tpe"
                config = design[number] if phase == "random" else self._near_best(rows, rng)
                run, result = self._run(name, model, number, phase, config, own, rng)
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
                config = (best["freeze_depth"], best["learning_rate"], best["head_learning_rate"])
                for extra in range(self.num_confirmations):
                    fallen = 0.2 if rng.random() < self.collapse else 0.0
                    number = self.num_random + self.num_tpe + extra
                    run, result = self._run(name, model, number, "confirmation", config, own, rng, fallen)
                    rows.append(run)
                    tests.append(result)
            trials += rows
        return trials_table(trials), results_table(tests)

    def true_score(self, name: str, quality: float = 0.75) -> float:
        """Attainable score: chance-normalised, best accuracy and the true tuning curve."""
        model = self.models[name]
        values = np.sort(model.grid())
        share = (np.arange(values.size) + 1) / values.size
        curve = [float(values @ np.diff(share**n, prepend=0.0)) for n in (1, 2, 4, 8)]
        mixed = quality * values[-1] + (1 - quality) * float(np.mean(curve))
        chance = CHANCE if self.metric == "accuracy" else 0.0
        return (mixed - chance) / (1 - chance)

    def true_accuracy(self, name: str) -> float:
        """Expected accuracy of the configuration that was chosen."""
        row = self.chosen[name]
        rate = None if row["learning_rate"] is None else math.log10(row["learning_rate"])
        return self.models[name].accuracy(row["freeze_frac"], rate, math.log10(row["head_learning_rate"]))

    def _random(self, rng: np.random.Generator) -> tuple[int, float | None, float]:
        depth = int(rng.integers(0, NUM_BLOCKS + 1))
        rate, head = 10 ** rng.uniform(*RATE_RANGE), 10 ** rng.uniform(*HEAD_RANGE)
        return depth, None if depth == NUM_BLOCKS else rate, head

    def _near_best(
        self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator
    ) -> tuple[int, float | None, float]:
        """What TPE does in effect: sample around the better trials, now and then anywhere."""
        done = sorted((row for row in rows if row["state"] == "completed"), key=lambda row: -row["val_score"])
        if not done or rng.random() < 0.2:
            return self._random(rng)
        good = done[int(rng.integers(0, max(1, len(done) // 4)))]
        depth = int(np.clip(round(good["freeze_depth"] + rng.normal(0, 1.2)), 0, NUM_BLOCKS))
        start = math.log10(good["learning_rate"]) if good["learning_rate"] else rng.uniform(*RATE_RANGE)
        rate = float(np.clip(start + rng.normal(0, 0.5), *RATE_RANGE))
        head = float(np.clip(math.log10(good["head_learning_rate"]) + rng.normal(0, 0.6), *HEAD_RANGE))
        return depth, None if depth == NUM_BLOCKS else 10**rate, 10**head

    def _run(
        self,
        name: str,
        model: Model,
        number: int,
        phase: str,
        config: tuple[int, float | None, float],
        own: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        fallen: float = 0.0,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        depth, rate, head = config
        level = model.accuracy(depth / NUM_BLOCKS, None if rate is None else math.log10(rate), math.log10(head))
        level = float(np.clip(level - fallen + rng.normal(0, model.seed_sd), 0.02, 0.999))
        errors = {key: part + 0.08**0.5 * rng.standard_normal(part.size) for key, part in own.items()}
        if self.metric == "r2":
            # Residuals of a target with variance 1: what is hard for one backbone is hard for others too.
            scores = {key: 1 - (1 - level) * error**2 for key, error in errors.items()}
        else:
            scores = {key: error < ndtri(level) for key, error in errors.items()}
        run = trial(
            number,
            backbone=name,
            task=self.task,
            phase=phase,
            freeze_depth=depth,
            learning_rate=rate,
            head_learning_rate=head,
            seed=1000 * number + 7,
            metric=self.metric,
            val_score=float(scores["val"].mean()),
            num_val=self.num_val,
        )
        if self.metric == "r2":
            return run, on_regression(number, backbone=name, task=self.task, scores=scores["test"])
        return run, on_test(number, backbone=name, task=self.task, correct=scores["test"])


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
