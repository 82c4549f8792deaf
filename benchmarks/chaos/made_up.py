"""A worker that trains a number: a quarter of the imports of one that trains a network, and all of its manners.

It keeps its state in the checkpoint files that the real one writes, after every epoch and before it reports, and
goes on from the newest one. The number walks from epoch to epoch: had a checkpoint been missed, or one of another
run been taken, every later score would be another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ray import tune

from benchmarks.chaos.epoch_log import log_epoch
from benchmarks.chaos.victim import EPOCH_S
from orchestrator.folder import write_whole
from orchestrator.workers.request import RunRequest
from trainables.checkpoint_file import checkpoint_files, read_values, write_checkpoint
from trainables.config import EpochMetrics

__all__ = ["MadeUpWorker"]

USUAL_EPOCH_S: Final = 0.3
NUM_TEST: Final = 20


class MadeUpWorker(tune.Trainable):  # type: ignore[misc]  # ray ships no types
    """One Tune step is one epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(RunRequest.from_tune(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(RunRequest.from_tune(new_config))
        return True

    def step(self) -> dict[str, Any]:
        request = self._request
        if len(self._epochs) < request.config.max_epochs:
            self._train()
        metrics = self._epochs[-1]
        done = metrics.epoch >= request.config.max_epochs
        if done:
            write_whole(Path(request.test_file), json.dumps(self._test_row()))
        untold, self._untold = self._untold, []
        return {**asdict(metrics), **self._facts(), "untold": json.dumps(untold), "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: Tune's checkpoints are not used."""

    def _begin(self, request: RunRequest) -> None:
        self._request = request
        self._started = time.perf_counter()
        self._epochs: list[EpochMetrics] = []
        self._number = request.config.seed / 2**31
        for file in checkpoint_files(request.checkpoint_folder)[:1]:
            values = read_values(file.path)
            self._epochs = [EpochMetrics(**epoch) for epoch in values["epochs"]]
            self._number = values["number"]
        self._untold = [asdict(metrics) for metrics in self._epochs[request.num_known_epochs :]]

    def _train(self) -> None:
        request, epoch = self._request, len(self._epochs) + 1
        time.sleep(float(os.environ.get(EPOCH_S, USUAL_EPOCH_S)))
        text = f"{self._number!r} {epoch} {request.config.head_learning_rate!r} {request.config.backbone}"
        self._number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
        log_epoch(request.study, request.number, request.attempt, epoch)
        score = round(_reached(request, epoch) + 0.05 * self._number, 6)
        best = max((metrics.val_score for metrics in self._epochs), default=-1.0)
        metrics = EpochMetrics(
            epoch=epoch,
            step=2 * epoch,
            train_loss=1.0 - score,
            val_loss=1.1 - score,
            val_accuracy=score,
            val_f1_macro=score,
            val_r2=None,
            val_mae=None,
            val_score=score,
            train_s=USUAL_EPOCH_S,
            eval_s=0.0,
            is_best=score > best,
        )
        self._epochs.append(metrics)
        values = {
            "epochs": [asdict(one) for one in self._epochs],
            "facts": self._facts(),
            "number": self._number,
        }
        # As the real one: a full disk costs what a checkpoint would have saved, not the training itself.
        with contextlib.suppress(OSError):
            write_checkpoint(request.checkpoint_folder, values, {}, (), epoch=epoch, attempt=request.attempt)

    def _facts(self) -> dict[str, Any]:
        return {
            "num_blocks": 7,
            "num_params": 1000,
            "num_params_trainable": 100,
            "num_val": NUM_TEST,
            "metric": "accuracy",
            "frozen_digest": "0" * 16,
            "duration_s": time.perf_counter() - self._started,
            "memory_mib": None,
            "device": "cpu",
            "node": "here",
            "worker_pid": os.getpid(),
        }

    def _test_row(self) -> dict[str, Any]:
        """A row of `TESTS`: as many right answers as the number says."""
        num_right = round(NUM_TEST * (0.5 + 0.4 * self._number))
        bits = "1" * num_right + "0" * (24 - num_right)
        return {
            "study": self._request.study,
            "number": self._request.number,
            "metric": "accuracy",
            "test_score": num_right / NUM_TEST,
            "test_loss": 1.0 - num_right / NUM_TEST,
            "test_accuracy": num_right / NUM_TEST,
            "test_f1_macro": num_right / NUM_TEST,
            "chance": 0.1,
            "num_test": NUM_TEST,
            "correct": f"{int(bits, 2):06x}",
        }


def _reached(request: RunRequest, epoch: int) -> float:
    """A smooth surface over depth and learning rate, climbed epoch by epoch: something to learn and to stop."""
    config = request.config
    top = 0.8 - 0.01 * (config.freeze_depth - 3) ** 2 - 0.05 * abs(math.log10(config.head_learning_rate) + 2)
    return top * (1 - 0.5**epoch)
