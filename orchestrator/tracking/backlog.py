"""What is still to be written, gathered by run, so that one call carries all a run has waiting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from orchestrator.evaluated import Evaluated
from orchestrator.tracking.info import DatasetInfo

__all__ = ["Backlog", "Epoch", "Event", "Finished", "Published", "RunKey", "RunUpdate", "Started"]


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


@dataclass(frozen=True, slots=True)
class Published:
    """A ranking and what goes with it."""

    ranking: pa.Table | None
    verdicts: Mapping[str, str]
    files: Mapping[str, Path]
    more: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    """Metrics of summary runs beside the ranking's, by task and backbone."""


Event = Started | Epoch | Finished | Published | DatasetInfo


@dataclass(slots=True)
class RunUpdate:
    """All that one run has waiting."""

    started: Mapping[str, Any] | None = None
    epochs: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    finished: Finished | None = None

    @property
    def facts(self) -> dict[str, Any] | None:
        """What is set once: from the run's end where it is known, as that says more, else from its start."""
        if self.finished is not None:
            trial = dict(self.finished.trial)
            return {**trial, "config": json.loads(trial["config"])}
        return None if self.started is None else dict(self.started)


@dataclass(slots=True)
class Backlog:
    """Events in, updates out. A later publication takes the place of an earlier one."""

    runs: dict[RunKey, RunUpdate] = field(default_factory=dict)
    datasets: dict[str, DatasetInfo] = field(default_factory=dict)
    publication: Published | None = None
    num_events: int = 0
    """Added and not yet taken out as a whole; bounds what an outage may pile up."""

    def __bool__(self) -> bool:
        return bool(self.runs or self.datasets or self.publication)

    def add(self, event: Event) -> None:
        """Take an event in."""
        self.num_events += 1
        match event:
            case Started(run):
                self._run(run).started = run
            case Epoch(row):
                self._run(row).epochs[int(row["epoch"])] = row
            case Finished(trial, _, evaluated):
                self._run(trial).finished = event
                self.num_events += 0 if evaluated is None else len(evaluated.measures)
            case Published():
                self.publication = event
            case DatasetInfo():
                self.datasets[event.task] = event

    def _run(self, row: Mapping[str, Any]) -> RunUpdate:
        return self.runs.setdefault(RunKey(row["study"], int(row["number"])), RunUpdate())
