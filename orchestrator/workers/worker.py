"""The thin Ray adapter around `trainables.finetune.Finetuner` and `trainables.probes.ProbeRun`.

One worker lives through many trials: torch, decoded data and pretrained backbones stay warm. What it
reports never holds a test score; those are written to a file of their own.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from ray import tune

from orchestrator.errors import one_line, redact
from orchestrator.folder import write_whole
from orchestrator.records import USED
from orchestrator.redaction import unrevealing
from orchestrator.workers.inspection import load_study
from orchestrator.workers.probing import Run, make_run
from orchestrator.workers.request import RunRequest
from orchestrator.workers.usage import UsageMeter
from trainables.checkpoint import load_checkpoint, save_checkpoint
from trainables.config import EpochMetrics
from trainables.errors import Diverged, OutOfMemory, TrainableError
from trainables.finetune import Finetuner, default_device
from trainables.memory_limit import limit_memory
from trainables.watchdog import Watchdog

__all__ = ["FinetuneWorker"]

T = TypeVar("T")


class FinetuneWorker(tune.Trainable):  # type: ignore[misc]  # ray ships no types
    """One Tune step is one epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(RunRequest.from_tune(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process (``reuse_actors``)."""
        self._begin(RunRequest.from_tune(new_config))
        return True

    def step(self) -> dict[str, Any]:
        if self._refused is not None:
            return self._failed(self._refused)
        try:
            return self._watched(self._epoch)
        except OutOfMemory:
            raise  # memory that this process cannot give back, or that others need less of later: a new one tries again
        except TrainableError as error:
            # The trial failed, the process did not: it is reported, not raised, and stays warm.
            return self._failed(error)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: Tune's checkpoints are not used."""

    def _begin(self, request: RunRequest) -> None:
        self._request = request
        self._started = time.perf_counter()
        self._spent_s = 0.0
        self._epochs: list[EpochMetrics] = []
        self._meter = UsageMeter()
        self._usage: dict[str, dict[str, Any]] = {}  # by epoch, as JSON has keys
        self._notes: tuple[str, ...] = ()
        self._untold: list[EpochMetrics] = []
        self._run: Run | None = None
        self._refused: TrainableError | None = None
        self._watchdog = Watchdog(request.hung_file, request.epoch_timeout_s)
        try:
            self._watched(self._load)
        except OutOfMemory:
            raise
        except TrainableError as error:
            self._refused = error

    def _watched(self, work: Callable[[], T]) -> T:
        """Do what may hang, or fail in a way that must be told."""
        try:
            with self._watchdog:
                return work()
        except Diverged:
            raise
        except TrainableError:
            self._leave_traceback()
            raise
        except Exception as error:
            self._leave_traceback()
            raise unrevealing(error) from None  # Tune keeps what it is given in files of its own

    def _load(self) -> None:
        """Make the run and bring it to where an attempt before this one left it."""
        request = self._request
        torch.set_num_threads(request.num_threads)
        if torch.cuda.is_available():
            # Whoever shares the GPU is safe from this process; what it lacks it finds another way to do.
            limit_memory(self._gpu_share())
        backbone, task = load_study(request.task, request.config.backbone)
        if request.train_frac < 1:
            task = task.reduced(request.train_frac)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._run = make_run(request, backbone, task)
        if request.attempt > 1:
            self._go_on(self._run)

    def _go_on(self, run: Run) -> None:
        if not isinstance(run, Finetuner):
            # All but the last one, which it then has to tell.
            run.go_on_after(min(self._request.num_known_epochs, self._request.config.max_epochs - 1))
            return
        restored = load_checkpoint(self._request.checkpoint_folder, run)
        self._epochs = list(restored.epochs)
        self._spent_s = restored.facts.get("duration_s", 0.0)
        self._usage = dict(restored.facts.get(USED, {}))
        self._notes = restored.notes
        # A worker that was cut off may have saved epochs after the driver had looked for the last time.
        self._untold = [metrics for metrics in restored.epochs if metrics.epoch > self._request.num_known_epochs]

    def _failed(self, error: TrainableError) -> dict[str, Any]:
        kind = "diverged" if isinstance(error, Diverged) else type(error).__name__
        epoch = 0 if self._run is None else self._run.epoch
        reason = f"{kind}: {one_line(str(error))}"
        return {**self._facts(), **self._inherited(), "epoch": epoch, "error": reason, "done": True}

    def _inherited(self) -> dict[str, str]:
        """What is to be told, once, of the attempt before: texts, as Tune copies a result value by value."""
        told = {
            "notes": "; ".join(self._notes),
            "untold": json.dumps([self._row(metrics) for metrics in self._untold]),
        }
        self._notes, self._untold = (), []
        return told

    def _gpu_share(self) -> float:
        """What Ray holds free for this trial; all where it holds no GPU, or nobody asked Ray."""
        held = self.trial_resources
        share: float = 1.0 if held is None else held.required_resources.get("GPU", 1.0)
        return share

    def _epoch(self) -> dict[str, Any]:
        run, last = self._trained, self._request.config.max_epochs
        if run.epoch < last:  # otherwise an attempt before this one trained it, and died on its evaluation
            self._train(run)
            self._keep()
        metrics, done = self._epochs[-1], run.epoch >= last
        if done:
            self._watchdog.begin_evaluation()
        test = self._test_row() if done else {}
        facts = self._facts()  # by now: what an evaluation takes is no cost of adapting
        if done:
            test |= self._evaluate()
            self._keep_model(test["test_score"])
            write_whole(Path(self._request.test_file), json.dumps(test))
        return {**self._row(metrics), **facts, **self._inherited(), "done": done}

    def _train(self, run: Run) -> None:
        self._meter.begin()
        metrics = run.train_epoch()
        self._usage[str(metrics.epoch)] = {**asdict(self._meter.end()), "elapsed_s": self._elapsed_s()}
        self._epochs.append(metrics)

    def _row(self, metrics: EpochMetrics) -> dict[str, Any]:
        """An epoch as the driver records it."""
        return {**asdict(metrics), **self._usage.get(str(metrics.epoch), {})}

    def _elapsed_s(self) -> float:
        """That all attempts have worked on the run."""
        return self._spent_s + time.perf_counter() - self._started

    def _keep(self) -> None:
        """Save the epoch before it is told: what the driver knows is never lost with this process."""
        run = self._trained
        if not isinstance(run, Finetuner):
            return  # heads on frozen features, which a few seconds bring back
        try:
            save_checkpoint(
                self._request.checkpoint_folder,
                run,
                attempt=self._request.attempt,
                epochs=self._epochs,
                facts={**self._facts(), USED: self._usage},
            )
        except OSError:
            # A full disk costs what a checkpoint would have saved, not the training itself.
            logging.getLogger(__name__).warning("no checkpoint of epoch %d", run.epoch, exc_info=True)

    @property
    def _trained(self) -> Run:
        assert self._run is not None, "a run that could not be made is not trained"
        return self._run

    def _facts(self) -> dict[str, Any]:
        """Of this process, and of the run once it is made."""
        return {
            **({} if self._run is None else _facts_of(self._run)),
            "duration_s": self._elapsed_s(),
            "memory_mib": self._meter.peak_gpu_memory_mib,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else str(default_device()),
            "node": socket.gethostname(),
            "worker_pid": os.getpid(),
        }

    def _test_row(self) -> dict[str, Any]:
        """A `TESTS` row as JSON takes it, without what only an evaluation knows."""
        measured, objective = self._trained.measure_test(), self._trained.task.objective
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
        finetuner = self._trained
        if self._request.evaluation is None or not isinstance(finetuner, Finetuner):
            return {}
        from orchestrator.workers.evaluating import (
            evaluate_run,  # two seconds to load, which no first trial should wait for
        )

        return evaluate_run(finetuner, self._request.evaluation, self._request)

    def _keep_model(self, test_score: float) -> None:
        """Leave the trained network of a confirmation. Where that fails the model is lost, and the run is not."""
        finetuner = self._trained
        if self._request.model_folder is None or not isinstance(finetuner, Finetuner):
            return
        from orchestrator.models.keeping import keep_model  # as above

        if problem := keep_model(finetuner, self._request, test_score):
            self._notes = (*self._notes, problem)

    def _leave_traceback(self) -> None:
        self._request.error_file.write_text(redact(traceback.format_exc()), encoding="utf-8")


def _facts_of(run: Run) -> dict[str, Any]:
    return {
        "num_blocks": run.backbone.num_blocks,
        "num_params": run.num_params,
        "num_params_trainable": run.num_params_trainable,
        "num_val": len(run.task.val),
        "metric": run.task.objective.metric,
        "frozen_digest": run.frozen_digest,
    }
