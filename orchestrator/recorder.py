"""Writes what happens, durably first, then to whoever listens."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow.compute as pc

from orchestrator.errors import redact
from orchestrator.evaluated import Evaluated
from orchestrator.folder import SweepFolder
from orchestrator.open_run import OpenRun, Row, started_row, trial_row
from orchestrator.records import EPOCHS, RESUMED, USAGE, USED, AppendOnlyTable
from orchestrator.runs.unfinished import unfinished
from orchestrator.workers.request import RunRequest
from trainables.checkpoint_file import read_checkpoint
from trainables.watchdog import timeout_reason

__all__ = ["Listener", "Recorder", "Row"]

_EPOCH_COLUMNS: Final = [name for name in EPOCHS.names if name not in ("study", "number", "finished_at", *USAGE)]
_EXCEPTION: Final = re.compile(r"[A-Za-z_][\w.]*(: |$)")


class Listener(Protocol):
    """Is told what was recorded. It must return at once and must not raise."""

    def run_started(self, run: Row) -> None:
        """A run was handed to Ray: study, number, phase, task, backbone, config, seed, freeze_depth,
        tune_stop, num_blocks, freeze_frac, train_frac, attempt (1-based) and cause (of the first attempt None,
        else why the one before did not end the run)."""

    def epoch(self, row: Row) -> None:
        """A row of `EPOCHS` was written."""

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        """A row of `TRIALS` was written, for a completed run one of `TESTS`, and of an evaluated one its measures."""


class Recorder:
    """The only writer of a sweep's tables. It takes over the runs that a driver before it left unfinished."""

    def __init__(self, folder: SweepFolder, listeners: Sequence[Listener]) -> None:
        self._folder = folder
        self._listeners = listeners
        self._open: dict[tuple[str, int], OpenRun] = {}
        self._left = unfinished(folder)

    def started(self, request: RunRequest, num_blocks: int) -> RunRequest:
        """A run is to be handed to Ray, for the first time or again. Returns it as that worker is to see it."""
        key = request.study, request.number
        if key not in self._open:
            self.adopt(request, num_blocks)
        run = self._open[key]
        run.num_attempts += 1
        run.request = request.again(run.num_attempts, num_known_epochs=run.last_epoch)
        self._folder.attempts.append(
            {
                "study": request.study,
                "number": request.number,
                "attempt": run.num_attempts,
                "cause": run.cause,
                "started_at": datetime.now(UTC),
            }
        )
        row = started_row(run)
        for listener in self._listeners:
            listener.run_started(row)
            for epoch in run.untold:
                listener.epoch(epoch)
        run.untold.clear()
        return run.request

    def adopt(self, request: RunRequest, num_blocks: int) -> None:
        """Know a run that will be handed out, with all that is known of it from before."""
        run = self._open[request.study, request.number] = OpenRun(request, num_blocks)
        left = self._left.pop((request.study, request.number), None)
        if left is None:
            return
        for row in left.epochs:
            run.add(row)
        run.untold.extend(left.epochs)
        run.num_attempts = len(left.attempts)
        run.cause = RESUMED
        run.started_at = left.attempts[0]["started_at"]
        self._catch_up(run)

    def kept_facts(self, study: str, number: int) -> Row:
        """What the worker of a run under way said of itself with its last checkpoint; empty where there is none."""
        saved = read_checkpoint(self._open[study, number].request.checkpoint_folder)
        return {} if saved is None else saved.facts

    def broke(self, study: str, number: int) -> tuple[str, int, list[Row]]:
        """A worker died on a run. Returns why, the last epoch that it is known to have completed, and those
        epochs that it could not report."""
        run = self._open[study, number]
        before, cause = run.last_epoch, self._error(run, None, died=True)
        run.cause = cause
        missed = [row for row in self._catch_up(run) if row["epoch"] > before]
        return str(cause), run.last_epoch, missed

    def _catch_up(self, run: OpenRun) -> list[Row]:
        """Record what a worker kept and could not report. Returns all epochs that it kept."""
        saved = read_checkpoint(run.request.checkpoint_folder)
        usage = {} if saved is None else saved.facts.get(USED, {})
        epochs = () if saved is None else saved.epochs
        kept: list[Row] = [{**dataclasses.asdict(one), **usage.get(str(one.epoch), {})} for one in epochs]
        for row in kept:
            self.epoch(run.request.study, run.request.number, row)
        return kept

    def epoch(self, study: str, number: int, result: Row) -> None:
        """A run reported an epoch. One without a score (a diverged one) leaves no row."""
        run = self._open[study, number]
        if result.get("val_score") is None or result["epoch"] <= run.last_epoch:
            return
        row = {
            "study": study,
            "number": number,
            **{name: result[name] for name in _EPOCH_COLUMNS},
            **{name: result.get(name) for name in USAGE},
            "finished_at": datetime.now(UTC),
        }
        self._folder.epochs.append(row)
        run.add(row)
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
        trial = trial_row(run, result or {}, error)
        if test is not None:
            evaluated = Evaluated.read(run.request.test_file, study=study, number=number)
            if not self._is_in(self._folder.measures, run):
                self._folder.measures.append_all([] if evaluated is None else evaluated.measures)
            if not self._is_in(self._folder.tests, run):
                self._folder.tests.append(test)
        self._folder.trials.append(trial)
        shutil.rmtree(run.request.checkpoint_folder, ignore_errors=True)
        for listener in self._listeners:
            listener.run_finished(trial, test, evaluated)
        return trial

    def _is_in(self, table: AppendOnlyTable, run: OpenRun) -> bool:
        """Whether a driver that ended before it could record the run's end had come as far as this table."""
        if run.num_attempts == 1:
            return False
        mine = (pc.field("study") == run.request.study) & (pc.field("number") == run.request.number)
        return bool(table.read().filter(mine).num_rows)

    def _error(self, run: OpenRun, result: Row | None, died: bool) -> str | None:
        if result is not None and result.get("error"):
            return redact(str(result["error"]))
        if not died:
            return None
        # Ray's own account is what there is where a worker could not even start.
        account = self._folder.path / "tune" / Path(run.request.test_file).stem / "error.txt"
        for file in (run.request.hung_file, run.request.error_file, account):
            if reason := _reason(file):
                return redact(reason)
        return "the worker process ended without a word: killed, or out of memory"


def _reason(file: Path) -> str | None:
    """The exception that ends a traceback, on one line; what comes before it is indented."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    if hung := timeout_reason(text):
        return hung
    exceptions = [line for line in text.splitlines() if _EXCEPTION.match(line)]
    return exceptions[-1].strip() if exceptions else None


def _read_test(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    correct = row.get("correct")
    return {**row, "correct": None if correct is None else bytes.fromhex(correct)}
