"""A worker with made-up results. In a module of its own, as Ray's processes import it, sooner without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ray import tune
from twin import epoch_result, leave_test

from orchestrator.workers.request import RunRequest

__all__ = ["QuickWorker"]


class QuickWorker(tune.Trainable):  # type: ignore[misc]  # ray ships no types
    """Reports made-up results at once."""

    def setup(self, config: dict[str, Any]) -> None:
        self._request = RunRequest.from_tune(config)
        self._epoch = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        done = self._epoch >= self._request.config.max_epochs
        if done:
            leave_test(self._request)
        # The later studies of a plan are worse: rungs shared with them would stop all of their trials.
        study = int(Path(self._request.test_file).name.partition("-")[0])
        score = 0.9 - 0.3 * study - 0.01 * self._request.number
        return epoch_result(self._epoch, score, done=done) | {"worker_pid": os.getpid()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass
