"""What is still to be written, gathered by run, so that one call carries all a run has waiting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa

from orchestrator.evaluated import Evaluated, read_evaluations
from orchestrator.folder import SweepFolder
from orchestrator.records import OF_EXAMPLES
from orchestrator.tracking.info import DatasetInfo
from orchestrator.tracking.model_info import ModelInfo

__all__ = ["Backlog", "Epoch", "Event", "Finished", "Published", "Recorded", "RunKey", "RunUpdate", "Started"]


class RunKey(NamedTuple):
    """What the records call a run."""

    study: str
    number: int


@dataclass(frozen=True, slots=True)
class Started:
    """A run was handed to a worker, for the first time or again after a resume."""

    run: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Epoch:
    """An EPOCHS row."""

    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """A TRIALS row, the TESTS row where there is one, and what else was measured of a confirmation."""

    trial: Mapping[str, Any]
    test: Mapping[str, Any] | None
    evaluated: Evaluated | None = None
    cause: str | None = None
    """Why the run's last worker got it, where that is not told by its start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A ranking and what goes with it."""

    ranking: pa.Table | None
    """Of schema RANKING; None where there is none."""

    verdicts: Mapping[str, str]
    """Sentences, by task."""

    files: Mapping[str, Path]
    """Local files by artifact path; put on the parent run of every task."""

    more: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    """Metrics of summary runs beside the ranking's, by task and backbone."""

    best: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Metrics of the parent runs beside the best score, by task."""

    pictures: Mapping[tuple[str, str], Evaluated] = field(default_factory=dict)
    """Whose pictures stand for a backbone, by task and backbone."""

    models: Mapping[tuple[str, str], ModelInfo] = field(default_factory=dict)
    """Tuned networks that are kept, by task and backbone."""

    superseded: frozenset[tuple[str, int]] = frozenset()
    """Study and number of the confirmations and reduced runs that do not count."""

    is_interim: bool = False
    """Whether it is of a sweep that was stopped and may go on: MLflow then gets words and files, and no metrics, as
    a metric once given stays beside the final one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What a sweep's records say of its runs."""

    trials: pa.Table
    epochs: pa.Table
    tests: pa.Table
    evaluations: Mapping[tuple[str, int], Evaluated] = field(default_factory=dict)
    """What else was measured, by study and number of the run."""

    attempts: pa.Table | None = None
    """None where they were not counted."""

    @classmethod
    def of(cls, folder: SweepFolder) -> Self:
        """What lies in a sweep's folder, even while a driver writes."""
        trials, epochs, tests = folder.tables()
        return cls(
            trials=trials,
            epochs=epochs,
            tests=tests,
            evaluations=read_evaluations(folder),
            attempts=folder.attempts.read(),
        )


Event = Started | Epoch | Finished | Published | Recorded | DatasetInfo


@dataclass(slots=True)
class RunUpdate:
    """All that one run has waiting."""

    started: Mapping[str, Any] | None = None
    epochs: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    finished: Finished | None = None

    @property
    def facts(self) -> dict[str, Any] | None:
        """What is set once: from the run's end where it is known, as that says more, else from its start."""
        start = dict(self.started or {})
        if self.finished is not None:
            trial = dict(self.finished.trial)
            attempts = {"attempt": trial.get("num_attempts"), "cause": self.finished.cause or start.get("cause")}
            return {**trial, **attempts, "config": json.loads(trial["config"])}
        return start or None

    def after(self, earlier: RunUpdate) -> RunUpdate:
        """Both in one, where `earlier` could not be written."""
        return RunUpdate(
            started=self.started or earlier.started,
            epochs=earlier.epochs | self.epochs,
            finished=self.finished or earlier.finished,
        )


@dataclass(slots=True)
class Backlog:
    """Events in, updates out. A later publication takes the place of an earlier one."""

    runs: dict[RunKey, RunUpdate] = field(default_factory=dict)
    datasets: dict[str, DatasetInfo] = field(default_factory=dict)
    publication: Published | None = None
    recorded: Recorded | None = None
    num_events: int = 0
    """Added and not yet taken out as a whole; bounds what an outage may pile up."""

    def __bool__(self) -> bool:
        return bool(self.runs or self.datasets or self.publication or self.recorded)

    def add(self, event: Event) -> None:
        """Take an event in."""
        self.num_events += 1
        match event:
            case Started(run):
                self._run(run).started = run
            case Epoch(row):
                self._run(row).epochs[int(row["epoch"])] = row
            case Finished(trial, _, evaluated, _):
                self._run(trial).finished = event
                self.num_events += 0 if evaluated is None else len(evaluated.measures)
            case Published():
                self.publication = event
            case Recorded():
                self.recorded = event
            case DatasetInfo():
                self.datasets[event.task] = event

    def unfold(self, is_there: Callable[[Mapping[str, Any], Evaluated | None], bool]) -> None:
        """Put the records into the runs they are about. An epoch of a run without a TRIALS row is left out: its
        configuration is not known.

        Args:
            is_there: whether all that a TRIALS row and its evaluation stand for is known to be written.
        """
        recorded, self.recorded = self.recorded, None
        if recorded is None:
            return
        tests = recorded.tests.drop_columns(list(OF_EXAMPLES)).to_pylist()
        by_run = {RunKey(row["study"], row["number"]): row for row in tests}
        attempts = [] if recorded.attempts is None else recorded.attempts.to_pylist()
        causes = {RunKey(row["study"], row["number"]): row["cause"] for row in attempts}  # the last one's stays
        missing = set()
        for trial in recorded.trials.to_pylist():
            key = RunKey(trial["study"], trial["number"])
            evaluated = recorded.evaluations.get(key)
            if not is_there(trial, evaluated):
                missing.add(key)
                self.add(Finished(trial, by_run.get(key), evaluated, causes.get(key)))
        for row in recorded.epochs.to_pylist() if missing else ():
            if RunKey(row["study"], row["number"]) in missing:
                self.add(Epoch(row))

    def _run(self, row: Mapping[str, Any]) -> RunUpdate:
        return self.runs.setdefault(RunKey(row["study"], int(row["number"])), RunUpdate())
