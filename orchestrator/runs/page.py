"""Everything there is to know of one run, for a person who wants to understand it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError, one_line
from orchestrator.evaluated import Evaluated, read_evaluations
from orchestrator.folder import SweepFolder
from orchestrator.lease import holder_of
from orchestrator.overview import command_on
from orchestrator.records import OF_EXAMPLES
from orchestrator.reopening import recorded_config
from orchestrator.runs.alone import alone, task_of
from orchestrator.runs.files import run_files, traceback_tail
from orchestrator.runs.listing import Rows, chosen_runs, list_runs
from orchestrator.runs.parameters import Parameter, depth_words, parameters
from orchestrator.tracking.naming import child_run_id
from orchestrator.tracking.run_link import RunLink, run_link
from orchestrator.workers.request import SEARCHED, tuned_blocks
from trainables.config import FinetuneConfig, TaskSpec

__all__ = ["RunPage", "run_pages"]

_TESTED: Final = ("confirmation", "reduced")
"""Phases whose test score is told. Those of searched trials are in the tables; who reads them would choose by them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPage:
    """One run of a sweep. What is not known is None or empty."""

    sweep: str
    run: Mapping[str, Any]
    """Its row of `TRIALS`; of a run that has not ended as much of it as is known, with `state` ``running`` or
    ``interrupted``."""

    is_chosen: bool
    """Whether validation chose its configuration among those of its study."""

    attempts: Rows
    """Rows of `ATTEMPTS`; empty of sweeps from before they were counted."""

    curve: Rows
    """Rows of `EPOCHS`, in their order."""

    test: Mapping[str, Any] | None
    """Row of `TESTS` without what is per sample; of confirmations and reduced runs alone."""

    evaluated: Evaluated | None
    parameters: tuple[Parameter, ...]
    study: Mapping[str, Any]
    """What `sweep.json` says of its study."""

    task: TaskSpec | None
    execution: Mapping[str, Any]
    """Settings of `Execution` that are not the defaults, and ``cpus_per_trial``."""

    files: Mapping[str, Path]
    traceback: tuple[Path, str] | None
    """A file and its last lines, of a run that failed or was tried again."""

    link: RunLink
    serve: str
    """The command that serves a database, for `link`."""

    report: str
    """The command that writes what MLflow has missed."""

    command: tuple[str, ...] | None
    """The words of the command that does this run again, alone."""

    no_command: str
    """Why there is none; empty where there is one."""

    @property
    def depth(self) -> str | None:
        """What is frozen, in words."""
        if self.run.get("num_blocks") is None or self.run.get("freeze_depth") is None:
            return None
        return depth_words(self.run["freeze_depth"], self.run["tune_stop"], self.run["num_blocks"])

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The epoch whose weights count: the first of those with the highest validation score."""
        return max(self.curve, key=lambda epoch: epoch["val_score"], default=None)

    def document(self) -> dict[str, Any]:
        """As one JSON document: the row of TRIALS with the rest beside it."""
        traceback = None if self.traceback is None else {"file": str(self.traceback[0]), "tail": self.traceback[1]}
        return {
            **self.run,
            "chosen": self.is_chosen,
            "depth": self.depth,
            "parameters": [dataclasses.asdict(parameter) for parameter in self.parameters],
            "execution": dict(self.execution),
            "data": None if self.task is None else dataclasses.asdict(self.task),
            "curve": self.curve,
            "attempts": self.attempts,
            **({} if self.test is None else {"test": dict(self.test)}),
            **({} if self.evaluated is None else self.evaluated.document()),
            "traceback": traceback,
            "files": {what: str(path) for what, path in self.files.items()},
            "mlflow": dataclasses.asdict(self.link),
            "command": None if self.command is None else shlex.join(self.command),
            "no_command": self.no_command or None,
        }


def run_pages(
    folder: SweepFolder, number: int, *, backbone: str | None = None, task: str | None = None
) -> list[RunPage]:
    """The runs of one number, ended or not: at most one of each study, in the plan's order.

    Args:
        backbone: only of studies whose backbone's name contains this.
        task: only of studies of this task.

    Raises:
        TableDamaged: a table is no table of this version.
        InvalidTable: the tables contradict themselves.
    """
    reader = _Reader(folder, number)
    ended, begun = list_runs(folder, number, backbone=backbone, task=task)
    found = [reader.page(run) for run in (*ended, *map(reader.unfinished, begun))]
    places = list(folder.study_indices())
    return sorted(found, key=lambda page: places.index(page.run["study"]) if page.run["study"] in places else -1)


class _Reader:
    """Reads what all runs of one number share once."""

    def __init__(self, folder: SweepFolder, number: int) -> None:
        self._folder = folder
        self._number = number
        self._facts = folder.read_facts()
        self._studies = {study["study"]: study for study in self._facts.get("studies", ())}
        self._indices = folder.study_indices()
        self._chosen = chosen_runs(folder.trials.read())
        self._epochs = _of_number(folder.epochs.read(), number)
        columns = [name for name in folder.tests.schema.names if name not in OF_EXAMPLES]
        tests = _of_number(folder.tables()[2].select(columns), number)
        self._tests = {row["study"]: row for row in tests}
        self._evaluations = read_evaluations(folder)
        self._is_driven = holder_of(folder.lease_file) is not None
        self._config, self._no_config = _config(folder)

    def unfinished(self, begun: Mapping[str, Any]) -> dict[str, Any]:
        """As much of a row of TRIALS as is known of a run that has not ended."""
        from orchestrator.searching.ledger import meant  # Optuna takes a second to load

        study = begun["study"]
        task, _, backbone = study.partition(":")
        row: dict[str, Any] = {"task": task, "backbone": backbone, "error": None, "superseded": False, **begun}
        row["state"] = "running" if self._is_driven else "interrupted"
        row["started_at"] = begun["attempts"][0]["started_at"]
        row["num_blocks"] = self._studies.get(study, {}).get("num_blocks")
        planned = meant(self._folder.ledger_file, study, self._number)
        if planned is not None:
            config = dataclasses.asdict(planned.config)
            row |= {"phase": planned.phase, "train_frac": planned.train_frac, "config": json.dumps(config)}
            row |= {name: config[name] for name in ("seed", "max_epochs")}
            if row["num_blocks"] is not None:
                start, stop = tuned_blocks(planned.config, row["num_blocks"])
                row |= {"freeze_depth": start, "tune_stop": stop, "freeze_frac": start / row["num_blocks"]}
        return row

    def page(self, run: Mapping[str, Any]) -> RunPage:
        study, attempts = run["study"], run["attempts"]
        config = None if run.get("config") is None else FinetuneConfig(**json.loads(run["config"]))
        num_attempts = max([run.get("num_attempts") or 1, *(row["attempt"] for row in attempts)])
        index = self._indices.get(study)
        files = {} if index is None else run_files(self._folder, index, self._number, num_attempts)
        words, why_not = self._command(run, config)
        is_odd = run["state"] in ("failed", "interrupted") or num_attempts > 1
        return RunPage(
            sweep=self._folder.sweep_id,
            run={name: value for name, value in run.items() if name != "attempts"},
            is_chosen=self._chosen.get(study) == self._number,
            attempts=attempts,
            curve=[row for row in self._epochs if row["study"] == study],
            test=self._tests.get(study) if run.get("phase") in _TESTED else None,
            evaluated=self._evaluations.get((study, self._number)),
            parameters=self._parameters(run, config),
            study=self._studies.get(study, {}),
            task=None if self._config is None else task_of(self._config, run["task"]),
            execution=self._execution(),
            files=files,
            traceback=traceback_tail(files) if is_odd else None,
            link=self._link(run),
            serve=command_on(self._folder, "ui"),
            report=command_on(self._folder, "report"),
            command=words,
            no_command=why_not,
        )

    def _parameters(self, run: Mapping[str, Any], config: FinetuneConfig | None) -> tuple[Parameter, ...]:
        if config is None:
            return ()
        searched = self._config.space.names if self._config is not None and run["phase"] in SEARCHED else ()
        return parameters(config, run.get("num_blocks"), searched=searched, device=run.get("device"))

    def _execution(self) -> dict[str, Any]:
        if self._config is None:
            return {}
        execution = self._config.execution
        changed = {
            field.name: value
            for field in dataclasses.fields(execution)
            if (value := getattr(execution, field.name)) != field.default
        }
        return {**changed, "cpus_per_trial": self._config.resources.cpus_per_trial}

    def _link(self, run: Mapping[str, Any]) -> RunLink:
        uri = str(self._facts.get("tracking_uri", ""))
        run_id = child_run_id(self._folder.sweep_id, run["task"], run["backbone"], self._number)
        return run_link(uri, task=run["task"], run_id=run_id)

    def _command(self, run: Mapping[str, Any], config: FinetuneConfig | None) -> tuple[tuple[str, ...] | None, str]:
        if self._config is None:
            return None, self._no_config
        if config is None:
            return None, "its configuration is not in the ledger"
        words = alone(
            self._config,
            config,
            task=run["task"],
            phase=run["phase"],
            train_frac=run["train_frac"],
            device=run.get("device"),
        )
        return words, "" if words else f"the sweep's file has no task {run['task']!r}"


def _config(folder: SweepFolder) -> tuple[SweepConfig | None, str]:
    try:
        return recorded_config(folder), ""
    except ConfigError as error:
        return None, one_line(f"the sweep's file cannot be read: {'; '.join(str(error).splitlines())}")


def _of_number(table: pa.Table, number: int) -> Rows:
    rows: Rows = table.filter(pc.field("number") == number).to_pylist()
    return rows
