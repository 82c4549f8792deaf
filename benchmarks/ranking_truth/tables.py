"""Rows and tables as a sweep leaves them, from what a simulated run gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.ranking_truth.model import CHANCE, Config, Space
from orchestrator.records import TESTS, TRIALS

__all__ = ["configuration", "on_regression", "on_test", "recorded", "results_table", "trial", "trials_table"]

NUM_BLOCKS = 8


def trial(number: int = 0, *, backbone: str = "a", task: str = "t", **fields: Any) -> dict[str, Any]:
    """One TRIALS row: a completed random trial at mid depth unless told otherwise."""
    num_blocks = fields.get("num_blocks", NUM_BLOCKS)
    depth = fields.get("freeze_depth", num_blocks // 2)
    row: dict[str, Any] = dict.fromkeys(TRIALS.names)
    row |= {"study": f"{task}:{backbone}", "number": number, "task": task, "backbone": backbone}
    row |= {"phase": "random", "state": "completed", "seed": number, "freeze_depth": depth}
    row |= {"num_blocks": num_blocks, "tune_stop": num_blocks, "freeze_frac": depth / num_blocks}
    row |= {"head_init": "random", "stay_near": 0.0, "train_frac": 1.0}
    row |= {"learning_rate": None if depth == num_blocks else 1e-3, "head_learning_rate": 1e-2}
    row |= {"weight_decay": 0.0, "batch_size": 32, "max_epochs": 3, "epochs": 3, "config": "{}"}
    row |= {"metric": "accuracy", "val_score": 0.8, "num_val": 500, "train_s": 8.0, "duration_s": 10.0}
    return row | fields


def on_test(
    number: int = 0, *, backbone: str = "a", task: str = "t", correct: npt.ArrayLike, **fields: Any
) -> dict[str, Any]:
    """One TESTS row from per-example correctness."""
    bits = np.asarray(correct, dtype=bool)
    accuracy = float(bits.mean())
    row: dict[str, Any] = {"study": f"{task}:{backbone}", "number": number, "metric": "accuracy"}
    row |= {"test_score": accuracy, "test_loss": 1.0, "test_accuracy": accuracy, "test_f1_macro": accuracy}
    row |= {"chance": CHANCE, "num_test": bits.size, "correct": np.packbits(bits).tobytes()}
    return row | fields


def on_regression(
    number: int = 0, *, backbone: str = "a", task: str = "t", scores: npt.ArrayLike, **fields: Any
) -> dict[str, Any]:
    """One TESTS row of a regression from each example's part of R2."""
    values = np.asarray(scores, dtype=np.float32)
    r2 = float(values.mean(dtype=np.float64))
    row: dict[str, Any] = {"study": f"{task}:{backbone}", "number": number, "metric": "r2", "test_score": r2}
    row |= {"test_loss": 1 - r2, "test_r2": r2, "test_mae": 1.0, "test_mse": 1 - r2, "chance": 0.0}
    return row | {"num_test": values.size, "example_scores": values.tolist()} | fields


def recorded(
    number: int,
    phase: str,
    config: Config,
    scores: Mapping[str, npt.NDArray[Any]],
    *,
    backbone: str,
    task: str,
    space: Space,
    metric: str = "accuracy",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a sweep would record of a run: its rows of TRIALS and of TESTS.

    scores: of each example of "val" and "test".
    """
    depth, rate, head = config
    run = trial(
        number,
        backbone=backbone,
        task=task,
        phase=phase,
        num_blocks=space.num_blocks,
        freeze_depth=depth,
        learning_rate=rate,
        head_learning_rate=head,
        seed=1000 * number + 7,
        metric=metric,
        val_score=float(scores["val"].mean()),
        num_val=scores["val"].size,
    )
    if metric == "r2":
        return run, on_regression(number, backbone=backbone, task=task, scores=scores["test"])
    return run, on_test(number, backbone=backbone, task=task, correct=scores["test"])


def configuration(row: Mapping[str, Any]) -> Config:
    """Of a row of TRIALS."""
    return row["freeze_depth"], row["learning_rate"], row["head_learning_rate"]


def trials_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """With the columns of TRIALS."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=TRIALS)


def results_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """With the columns of TESTS."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=TESTS)
