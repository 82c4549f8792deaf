"""Writes what happens, durably first, then to whoever listens."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from orchestrator.evaluated import Evaluated
from orchestrator.folder import SweepFolder
from orchestrator.records import EPOCHS
from orchestrator.request import RunRequest, tuned_blocks

__all__ = ["Listener", "Recorder", "Row"]

Row = Mapping[str, Any]
"""A row of one of the tables in `orchestrator.records`."""

_EPOCH_COLUMNS: Final = [name for name in EPOCHS.names if name not in ("study", "number", "finished_at")]
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

_EXCEPTION: Final = re.compile(r"[A-Za-z_][\w.]*(: |$)")


class Listener(Protocol):
    """Is told what was recorded. It must return at once and must not raise."""

    def run_started(self, run: Row) -> None:
        """A run was handed to Ray: study, number, phase, task, backbone, config, seed, freeze_depth,
        tune_stop, num_blocks, freeze_frac, train_frac."""

    def epoch(self, row: Row) -> None:
        """A row of `EPOCHS` was written."""

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        """A row of `TRIALS` was written, for a completed run one of `TESTS`, and of an evaluated one its measures."""


class _OpenRun:
    """What is known of a run between its start and its end."""

    def __init__(self, request: RunRequest, num_blocks: int) -> None:
        self.request = request
        self.num_blocks = num_blocks
        self.started_at = datetime.now(UTC)
        self.started = time.perf_counter()
        self.last_epoch = 0
        self.best: Row | None = None
        self.train_s = 0.0


class Recorder:
    """The only writer of a sweep's tables."""

    def __init__(self, folder: SweepFolder, listeners: Sequence[Listener]) -> None:
        self._folder = folder
        self._listeners = listeners
        self._open: dict[tuple[str, int], _OpenRun] = {}

    def started(self, request: RunRequest, num_blocks: int) -> None:
        """A run was handed to Ray."""
        self._open[request.study, request.number] = _OpenRun(request, num_blocks)
        start, stop = tuned_blocks(request.config, num_blocks)
        run = {
            "study": request.study,
            "number": request.number,
            "phase": request.phase,
            "task": request.task.name,
            "backbone": request.config.backbone,
            "config": dataclasses.asdict(request.config),
            "seed": request.config.seed,
            "freeze_depth": start,
            "tune_stop": stop,
            "num_blocks": num_blocks,
            "freeze_frac": start / num_blocks,
            "train_frac": request.train_frac,
        }
        for listener in self._listeners:
            listener.run_started(run)

    def epoch(self, study: str, number: int, result: Row) -> None:
        """A run reported an epoch. One without a score (a diverged one) leaves no row."""
        run = self._open[study, number]
        if result.get("val_score") is None or result["epoch"] <= run.last_epoch:
            return
        run.last_epoch = result["epoch"]
        run.train_s += result["train_s"]
        if result["is_best"]:
            run.best = result
        row = {
            "study": study,
            "number": number,
            **{name: result[name] for name in _EPOCH_COLUMNS},
            "finished_at": datetime.now(UTC),
        }
        self._folder.epochs.append(row)
        for listener in self._listeners:
            listener.epoch(row)

    def finished(self, study: str, number: int, result: Row | None, died: bool = False) -> Row:
        """A run ended. Returns its `TRIALS` row, which is on disk by then.

        Args:
            result: the last one reported; None where the worker died before reporting.
            died: the worker ended without reporting an end.
        """
        if result is not None:
            self.epoch(study, number, result)
        run = self._open.pop((study, number))
        test, evaluated = None, None
        error = self._error(run, result, died)
        if error is None and run.last_epoch >= run.request.config.max_epochs:
            test = _read_test(Path(run.request.test_file))
            error = None if test else f"the worker left no test measurement at {run.request.test_file}"
        trial = _trial_row(run, result or {}, error)
        if test is not None:
            evaluated = Evaluated.read(run.request.test_file, study=study, number=number)
            self._folder.measures.append_all([] if evaluated is None else evaluated.measures)
            self._folder.tests.append(test)
        self._folder.trials.append(trial)
        for listener in self._listeners:
            listener.run_finished(trial, test, evaluated)
        return trial

    def _error(self, run: _OpenRun, result: Row | None, died: bool) -> str | None:
        if result is not None and result.get("error"):
            return str(result["error"])
        if not died:
            return None
        # Ray's own account is what there is where a worker could not even start.
        account = self._folder.path / "tune" / Path(run.request.test_file).stem / "error.txt"
        for file in (run.request.error_file, account):
            if reason := _reason(file):
                return reason
        return "the worker process ended without a word: killed, or out of memory"


def _trial_row(run: _OpenRun, result: Row, error: str | None) -> dict[str, Any]:
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
    }


def _reason(file: Path) -> str | None:
    """The exception that ends a traceback, on one line; what comes before it is indented."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    exceptions = [line for line in text.splitlines() if _EXCEPTION.match(line)]
    return exceptions[-1].strip() if exceptions else None


def _read_test(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    correct = row.get("correct")
    return {**row, "correct": None if correct is None else bytes.fromhex(correct)}
