"""The ledger: Optuna's own journal, made whole again after a kill and checked against the tables."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage

from orchestrator.errors import EnvironmentUnusable
from orchestrator.folder import SweepFolder
from orchestrator.searching.confirming import ConfirmationPlans
from orchestrator.workers.request import Phase
from trainables.config import FinetuneConfig

__all__ = ["Meant", "meant", "open_ledger", "require_known", "require_sound", "rows_of"]

_LOCKS: Final = (".lock", ".lock.rename")
_STILL: Final = "What was recorded can still be ranked: python -m orchestrator report"
_TORN: Final = 1 << 16
"""Bytes at the end of a journal in which its last line begins, or something else is wrong with it."""


def open_ledger(file: Path, *, is_new: bool) -> BaseStorage:
    """The storage of a sweep's studies. Only who holds the sweep's lease may open it.

    A driver killed in the middle of a write leaves half a line, on which the next line would be appended, and a
    lock for which Optuna would wait: both go.

    Args:
        is_new: nothing has been recorded yet, so that there need be no file.

    Raises:
        EnvironmentUnusable: the file is missing, damaged, or of a version of Optuna that this one cannot
            read. It is left as it is.
    """
    for lock in _LOCKS:
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + lock).unlink()
    if file.exists():
        _cut_torn_line(file)
    require_sound(file, is_new=is_new)
    try:
        return JournalStorage(JournalFileBackend(str(file)))
    except (ValueError, KeyError, AssertionError, TypeError) as error:
        raise _damaged(file, str(error)) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Meant:
    """What a run was to be, as it was written down before anybody trained it."""

    phase: Phase
    config: FinetuneConfig
    train_frac: float = 1.0


def meant(file: Path, study: str, number: int) -> Meant | None:
    """What one run was to be; None where the ledger is missing, unreadable, or does not say. Nothing is changed, and
    a driver may be writing."""
    if not file.exists():
        return None
    try:
        storage = JournalStorage(JournalFileBackend(str(file)))
        study_id = storage.get_study_id_from_name(study)
        if found := ConfirmationPlans(storage, study_id).planned(number):
            run, config = found
            repeated = FinetuneConfig(**{**config, "seed": run.seed})
            return Meant(phase=run.phase, config=repeated, train_frac=run.train_frac)
        runs = (json.loads(trial.user_attrs["run"]) for trial in storage.get_all_trials(study_id, deepcopy=False))
        own = next((run for run in runs if run["number"] == number), None)
    except (ValueError, KeyError, AssertionError, TypeError, OSError):
        return None
    return own and Meant(phase=own["phase"], config=FinetuneConfig(**own["config"]))


def require_sound(file: Path, *, is_new: bool) -> None:
    """Whether a ledger can be gone on with, as far as its lines tell; half a last line does no harm.

    Args:
        is_new: as `open_ledger` takes it.

    Raises:
        EnvironmentUnusable: as `open_ledger`.
    """
    if not file.exists():
        if is_new:
            return
        raise EnvironmentUnusable(
            f"the ledger {file} is missing: without it nobody knows which trials were under way; put it back from a "
            f"copy. {_STILL}"
        )
    with file.open("rb") as journal:
        for number, line in enumerate(journal, 1):
            try:
                json.loads(line)
            except ValueError as error:
                if line.endswith(b"\n"):
                    raise _damaged(file, f"line {number}: {error}") from error


def _damaged(file: Path, reason: str) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        f"the ledger {file} is damaged, {reason}; it is left as it is: put back a copy of it. {_STILL}"
    )


def _cut_torn_line(file: Path) -> None:
    with file.open("r+b") as journal:
        size = journal.seek(0, 2)
        start = max(0, size - _TORN)
        journal.seek(start)
        tail = journal.read()
        end = tail.rfind(b"\n") + 1
        if end < len(tail) and (end or start == 0):
            journal.truncate(start + end)


def rows_of(table: pa.Table, study: str, *columns: str) -> dict[int, dict[str, Any]]:
    """What a table says of the runs of a study, by their number.

    Args:
        table: of TRIALS or ATTEMPTS, of which each run's last row counts.
        columns: what is asked beside the number.
    """
    rows = table.filter(pc.field("study") == study).select(["number", *columns])
    return {row["number"]: row for row in rows.to_pylist()}


def require_known(storage: BaseStorage, folder: SweepFolder, studies: Iterable[str]) -> None:
    """Compare a ledger with the tables that were written with it, before anything is added to it.

    Args:
        studies: keys of the sweep's.

    Raises:
        EnvironmentUnusable: the tables have runs, ended or begun, that the ledger does not know.
    """
    trials, attempts = folder.trials.read(), folder.attempts.read()
    ledgers = {study.study_name: study._study_id for study in storage.get_all_studies()}
    for study in studies:
        known: set[int] = set()
        if study in ledgers:
            known |= ConfirmationPlans(storage, ledgers[study]).all_numbers
            begun = storage.get_all_trials(ledgers[study], deepcopy=False)
            known |= {json.loads(trial.user_attrs["run"])["number"] for trial in begun}
        recorded = rows_of(trials, study).keys() | rows_of(attempts, study).keys()
        if unknown := sorted(recorded - known):
            raise EnvironmentUnusable(
                f"the ledger must know every recorded run, and it lacks {len(unknown)} of {study} "
                f"(number {unknown[0]} first): it was cut, or belongs to another sweep; put back a copy of it. {_STILL}"
            )
