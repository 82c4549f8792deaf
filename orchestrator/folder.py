"""A sweep's folder: everything a sweep leaves, and everything needed to read it again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa

from orchestrator.errors import EnvironmentUnusable, UsageError
from orchestrator.records import ATTEMPTS, EPOCHS, MEASURES, SCREEN, TESTS, TRIALS, AppendOnlyTable
from trainables.errors import did_you_mean

__all__ = ["FINISHED_AT", "SweepFolder", "find_sweep", "list_sweeps", "write_whole"]

_CONFIG: Final = "sweep.yaml"
_PARTS: Final[Mapping[str, type]] = {"settings": dict, "studies": list, "versions": dict}

FINISHED_AT: Final = "finished_at"
"""Key of `sweep.json`: when all runs had ended and were ranked; missing before."""


class SweepFolder:
    """Paths and tables of one sweep.

    ======================  =========================================================
    ``sweep.yaml``          the resolved sweep file
    ``sweep.json``          what was known at the start: identity, versions, tasks
    ``ledger.journal``      Optuna's own storage of all studies
    ``trials.arrows``       one row per finished trial and confirmation (`TRIALS`)
    ``epochs.arrows``       one row per completed epoch (`EPOCHS`)
    ``tests.arrows``        test measurements, kept apart (`TESTS`)
    ``measures.arrows``     what else was measured of confirmed configurations (`MEASURES`)
    ``attempts.arrows``     every time a run was handed to a worker, and why again (`ATTEMPTS`)
    ``screen.arrows``       what frozen features foretold before the first trial (`SCREEN`)
    ``evaluations/``        confusion matrices and notes of confirmations
    ``pictures/``           figures of confirmations, a folder for each
    ``models/``             the tuned network of each study, ready to predict, by place of the study and number
    ``runs/``               what workers leave for the driver to collect; of a run under way its checkpoints
    ``lease.json``          who drives the sweep
    ``ranking.*``           md, csv, json and parquet
    ======================  =========================================================
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = AppendOnlyTable(path / "trials.arrows", TRIALS)
        self.epochs = AppendOnlyTable(path / "epochs.arrows", EPOCHS)
        self.tests = AppendOnlyTable(path / "tests.arrows", TESTS)
        self.measures = AppendOnlyTable(path / "measures.arrows", MEASURES)
        self.attempts = AppendOnlyTable(path / "attempts.arrows", ATTEMPTS)
        self.screen = AppendOnlyTable(path / "screen.arrows", SCREEN)

    @classmethod
    def create(cls, storage: Path, name: str, config_yaml: str) -> Self:
        """A new folder named after the sweep and the time, never one that exists.

        Raises:
            EnvironmentUnusable: the storage cannot be written.
        """
        try:
            return cls._create(storage, name, config_yaml)
        except OSError as error:
            raise EnvironmentUnusable(
                f"the storage {storage} must be a folder that can be written: {error.strerror}; "
                "choose another --storage"
            ) from error

    @classmethod
    def _create(cls, storage: Path, name: str, config_yaml: str) -> Self:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        storage.mkdir(parents=True, exist_ok=True)
        attempt = 1
        while True:
            suffix = "" if attempt == 1 else f"-{attempt}"
            folder = cls(storage.resolve() / f"{name}-{stamp}{suffix}")
            try:
                folder.path.mkdir()
            except FileExistsError:
                attempt += 1
                continue
            try:
                (folder.path / "runs").mkdir()
                write_whole(folder.path / _CONFIG, config_yaml)
            except OSError:  # a disk that is full
                folder.discard()
                raise
            return folder

    @property
    def sweep_id(self) -> str:
        return self.path.name

    @property
    def config_file(self) -> Path:
        return self.path / _CONFIG

    @property
    def ledger_file(self) -> Path:
        return self.path / "ledger.journal"

    @property
    def lease_file(self) -> Path:
        return self.path / "lease.json"

    def test_file(self, study_index: int, number: int, attempt: int = 1) -> Path:
        """Where the worker of this run leaves its test measurement."""
        again = "" if attempt == 1 else f"-{attempt}"
        return self.path / "runs" / f"{study_index:02d}-{number:05d}{again}.json"

    def model_folder(self, study_index: int, number: int) -> Path:
        """Where the worker of this run leaves the trained network."""
        return self.path / "models" / f"{study_index:02d}" / f"{number:05d}"

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Keep what was known at the start."""
        write_whole(self.path / "sweep.json", json.dumps(facts, indent=2) + "\n")

    def read_facts(self) -> dict[str, Any]:
        """What `write_facts` kept; empty for a sweep that stopped before its first trial.

        Raises:
            EnvironmentUnusable: the file is damaged.
        """
        file = self.path / "sweep.json"
        try:
            facts: Any = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        except ValueError as error:
            raise EnvironmentUnusable(f"{file} is damaged: {error}; put back a copy of it") from error
        parts = [(facts, dict), *((facts[name], kind) for name, kind in _PARTS.items() if name in facts)]
        if not all(isinstance(part, kind) for part, kind in parts):
            raise EnvironmentUnusable(f"{file} is damaged: it is not what this program writes; put back a copy of it")
        known: dict[str, Any] = facts
        return known

    def study_indices(self) -> dict[str, int]:
        """Place of each study in the plan, by its key: what names the files of its runs."""
        return {study["study"]: index for index, study in enumerate(self.read_facts().get("studies", ()))}

    def clear_checkpoints(self) -> None:
        """Remove what runs that never ended left: those of a choice that an extended search made anew."""
        for entry in (self.path / "runs").iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder of a sweep that never began."""
        shutil.rmtree(self.path, ignore_errors=True)

    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Trials, epochs and tests as written so far, even while a driver writes.

        A test row is written just before its trial's: one without a trial is left out, be it that of a
        driver killed in between or that of a trial written since trials were read.
        """
        trials, epochs, tests = self.trials.read(), self.epochs.read(), self.tests.read()
        return trials, epochs, _of_runs(trials, tests)

    def measures_table(self) -> pa.Table:
        """Measures of the runs that have a trial's row, as written so far; see `tables`."""
        return _of_runs(self.trials.read(), self.measures.read())


def _of_runs(trials: pa.Table, table: pa.Table) -> pa.Table:
    """The rows of `table` that belong to a run among `trials`."""
    known = set(_run_keys(trials))
    return table.filter(pa.array([run in known for run in _run_keys(table)], pa.bool_()))


def _run_keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(*(table[name].to_pylist() for name in ("study", "number")), strict=True))


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file in one piece: readers see what was there before, or all of `content`."""
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("wb") as opened:
        opened.write(content.encode() if isinstance(content, str) else content)
        opened.flush()
        os.fsync(opened.fileno())  # or a loss of power may leave the new name with nothing in it
    os.replace(temporary, file)


def list_sweeps(storage: Path) -> list[SweepFolder]:
    """Every sweep in a storage folder, oldest first."""
    found = sorted(storage.glob(f"*/{_CONFIG}"), key=lambda file: file.stat().st_mtime)
    return [SweepFolder(file.parent.resolve()) for file in found]


def find_sweep(name_or_path: str | None, storage: Path) -> SweepFolder:
    """The sweep of this id or path, or the newest one for None.

    Raises:
        UsageError: there is no such sweep.
    """
    sweeps = list_sweeps(storage)
    if name_or_path is None:
        if not sweeps:
            raise UsageError(f"no sweep in {storage.resolve()}; start one with: python -m orchestrator sweep")
        return sweeps[-1]
    for folder in (Path(name_or_path), storage / name_or_path):
        if (folder / _CONFIG).exists():
            return SweepFolder(folder.resolve())
    raise UsageError(
        f"no sweep {name_or_path!r} in {storage.resolve()}"
        + did_you_mean(name_or_path, [sweep.sweep_id for sweep in sweeps])
    )
