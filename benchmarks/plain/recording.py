"""Notes when each trial of a Tuner started, reported and ended, for whoever compares."""

from __future__ import annotations

import time
from typing import Any

from ray import tune

__all__ = ["Timeline"]


class Timeline(tune.Callback):  # type: ignore[misc]  # ray ships no types
    """Attributes: `runs`, one dictionary per trial in the order they started; times are `time.time()`."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.runs[trial.trial_id] = {"config": dict(trial.config), "started": time.time(), "epochs": []}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        kept = ("epoch", "train_loss", "val_loss", "val_accuracy", "freeze_depth", "test_loss", "test_accuracy")
        row = {name: result[name] for name in kept if name in result}
        self.runs[trial.trial_id]["epochs"].append({**row, "finished": time.time()})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.runs[trial.trial_id]["ended"] = time.time()
