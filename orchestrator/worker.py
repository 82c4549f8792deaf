"""The thin Ray adapter around `trainables.finetune.Finetuner` and `trainables.probes.ProbeRun`.

One worker lives through many trials: torch, decoded data and pretrained backbones stay warm. What it
reports never holds a test score; those are written to a file of their own.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune

from orchestrator.folder import write_whole
from orchestrator.inspection import load_study
from orchestrator.probing import make_run
from orchestrator.request import RunRequest
from trainables.errors import Diverged
from trainables.finetune import Finetuner, default_device
from trainables.memory_limit import limit_memory

__all__ = ["FinetuneWorker"]


class FinetuneWorker(tune.Trainable):  # type: ignore[misc]  # ray ships no types
    """One Tune step is one epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(RunRequest.from_tune(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process (``reuse_actors``)."""
        self._begin(RunRequest.from_tune(new_config))
        return True

    def step(self) -> dict[str, Any]:
        try:
            return self._epoch()
        except Diverged as error:
            # The trial failed, the process did not: it is reported, not raised, and stays warm.
            reason = f"diverged: {error}"
            return {**self._facts(), "epoch": self._finetuner.epoch, "error": reason, "done": True}
        except Exception:
            self._leave_traceback()
            raise

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: Tune's checkpoints are not used."""

    def _begin(self, request: RunRequest) -> None:
        self._request = request
        self._started = time.perf_counter()
        try:
            torch.set_num_threads(request.num_threads)
            if torch.cuda.is_available():
                # Whoever shares the GPU is safe from this process; what it lacks it finds another way to do.
                limit_memory(self._gpu_share())
            backbone, task = load_study(request.task, request.config.backbone)
            if request.train_frac < 1:
                task = task.reduced(request.train_frac)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            self._finetuner = make_run(request, backbone, task)
        except Exception:
            self._leave_traceback()
            raise

    def _gpu_share(self) -> float:
        """What Ray holds free for this trial; all where it holds no GPU, or nobody asked Ray."""
        held = self.trial_resources
        share: float = 1.0 if held is None else held.required_resources.get("GPU", 1.0)
        return share

    def _epoch(self) -> dict[str, Any]:
        metrics = self._finetuner.train_epoch()
        done = metrics.epoch >= self._request.config.max_epochs
        test = self._test_row() if done else {}
        facts = self._facts()  # by now: what an evaluation takes is no cost of adapting
        if done:
            test |= self._evaluate()
            write_whole(Path(self._request.test_file), json.dumps(test))
        return {**asdict(metrics), **facts, "done": done}

    def _facts(self) -> dict[str, Any]:
        finetuner = self._finetuner
        memory = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
        return {
            "num_blocks": finetuner.backbone.num_blocks,
            "num_params": finetuner.num_params,
            "num_params_trainable": finetuner.num_params_trainable,
            "num_val": len(finetuner.task.val),
            "metric": finetuner.task.objective.metric,
            "frozen_digest": finetuner.frozen_digest,
            "duration_s": time.perf_counter() - self._started,
            "memory_mib": memory,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else str(default_device()),
            "node": socket.gethostname(),
            "worker_pid": os.getpid(),
        }

    def _test_row(self) -> dict[str, Any]:
        """A `TESTS` row as JSON takes it, without what only an evaluation knows."""
        measured, objective = self._finetuner.measure_test(), self._finetuner.task.objective
        quality, scores = measured.quality, measured.example_scores
        score = quality.score(objective.metric)
        if not math.isfinite(score):
            raise Diverged(f"test {objective.metric} is {score}")
        right_or_wrong = quality.accuracy is not None
        return {
            "study": self._request.study,
            "number": self._request.number,
            "metric": objective.metric,
            "test_score": score,
            **{f"test_{name}": value for name, value in asdict(quality).items()},
            "chance": objective.chance,
            "num_test": measured.num_test,
            "correct": np.packbits(scores > 0.5).tobytes().hex() if right_or_wrong else None,
            "example_scores": None if right_or_wrong else scores.tolist(),
        }

    def _evaluate(self) -> dict[str, Any]:
        """Leave what else was measured in files of its own; the part of the `TESTS` row that it knows."""
        finetuner = self._finetuner
        if self._request.evaluation is None or not isinstance(finetuner, Finetuner):
            return {}
        from orchestrator.evaluating import evaluate_run  # two seconds to load, which no first trial should wait for

        return evaluate_run(finetuner, self._request.evaluation, self._request)

    def _leave_traceback(self) -> None:
        self._request.error_file.write_text(traceback.format_exc(), encoding="utf-8")
