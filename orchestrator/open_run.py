"""A run between its start and its end, and the rows that say of both."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.workers.request import RunRequest, tuned_blocks

__all__ = ["OpenRun", "Row", "started_row", "trial_row"]

Row = Mapping[str, Any]
"""A row of one of the tables in `orchestrator.records`."""

_FACTS: Final = (
    "metric",
    "num_val",
    "num_params",
    "num_params_trainable",
    "duration_s",
    "memory_mib",
    "device",
    "node",
    "frozen_digest",
)

_BEST: Final = ("val_score", "val_loss", "val_accuracy", "val_f1_macro", "val_r2", "val_mae")
"""Columns of `TRIALS` that hold the best epoch's values."""


class OpenRun:
    """What is known of a run that has not ended, over all its attempts."""

    def __init__(self, request: RunRequest, num_blocks: int) -> None:
        self.request = request
        self.num_blocks = num_blocks
        self.started_at = datetime.now(UTC)
        self.started = time.perf_counter()
        self.last_epoch = 0
        self.best: Row | None = None
        self.train_s = 0.0
        self.num_attempts = 0
        self.cause: str | None = None  # why the last attempt did not end it
        self.untold: list[Row] = []  # epochs that listeners hear of once they know the run

    def add(self, row: Row) -> None:
        """An epoch, in their order."""
        self.last_epoch = row["epoch"]
        self.train_s += row["train_s"]
        if self.best is None or row["val_score"] > self.best["val_score"]:
            self.best = row


def started_row(run: OpenRun) -> dict[str, Any]:
    """What listeners hear of a run that is handed to a worker."""
    request = run.request
    start, stop = tuned_blocks(request.config, run.num_blocks)
    return {
        "study": request.study,
        "number": request.number,
        "phase": request.phase,
        "task": request.task.name,
        "backbone": request.config.backbone,
        "config": dataclasses.asdict(request.config),
        "seed": request.config.seed,
        "freeze_depth": start,
        "tune_stop": stop,
        "num_blocks": run.num_blocks,
        "freeze_frac": start / run.num_blocks,
        "train_frac": request.train_frac,
        "started_at": run.started_at,
        "attempt": run.num_attempts,
        "cause": run.cause,
    }


def trial_row(run: OpenRun, result: Row, error: str | None) -> dict[str, Any]:
    """The row of `TRIALS`.

    Args:
        result: what the worker reported last; empty where it is gone.
        error: why the run failed, if it did.
    """
    request, config = run.request, run.request.config
    start, stop = tuned_blocks(config, run.num_blocks)
    tuned = start < run.num_blocks
    best = run.best or {}
    # The state is derived from epochs: Ray calls a stopped and a completed trial the same.
    completed = run.last_epoch >= config.max_epochs
    state = "failed" if error else "completed" if completed else "stopped"
    return {
        "study": request.study,
        "number": request.number,
        "task": request.task.name,
        "backbone": config.backbone,
        "phase": request.phase,
        "state": state,
        "error": error,
        "seed": config.seed,
        "freeze_depth": start,
        "tune_stop": stop,
        "num_blocks": run.num_blocks,
        "freeze_frac": start / run.num_blocks,
        "learning_rate": config.learning_rate if tuned else None,
        "head_learning_rate": config.head_learning_rate,
        "weight_decay": config.weight_decay,
        "layer_decay": config.layer_decay if tuned else None,
        "head_init": config.head_init,
        "stay_near": config.stay_near if tuned else None,
        "batch_size": config.batch_size,
        "max_epochs": config.max_epochs,
        "train_frac": request.train_frac,
        "config": json.dumps(dataclasses.asdict(config)),
        "epochs": run.last_epoch,
        "best_epoch": best.get("epoch"),
        **{name: best.get(name) for name in _BEST},
        **{name: result.get(name) for name in _FACTS},
        "train_s": run.train_s,
        "duration_s": result.get("duration_s", time.perf_counter() - run.started),
        "started_at": run.started_at,
        "finished_at": datetime.now(UTC),
        "num_attempts": run.num_attempts,
    }
