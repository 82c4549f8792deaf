"""What must be true of a sweep that has been through anything at all and was resumed to its end."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.victim import Victim
from orchestrator.config import sweep_from_mapping
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import plan

__all__ = ["Tally", "differences", "examine", "tally_of"]

LEAVE_S = 10.0
"""A driver's processes may take so long to be gone."""

Key = tuple[str, int]


@dataclass(kw_only=True)
class Tally:
    """What a sweep, or several, came to."""

    sweeps: int = 0
    runs: int = 0
    """Trials, confirmations and runs on fewer samples that the plans asked for."""

    lost_runs: int = 0
    """Planned, and not finished."""

    duplicate_runs: int = 0
    """Rows beyond one of the same run."""

    failed_runs: int = 0
    attempts: int = 0
    epochs_run: int = 0
    """Trained by any worker."""

    epochs_unique: int = 0
    epochs_recorded: int = 0
    mlflow_runs: int = 0
    duplicate_mlflow_runs: int = 0
    duplicate_mlflow_points: int = 0
    left_running: int = 0
    """Trials in the ledger and runs in MLflow."""

    stray_processes: int = 0
    broken: list[str] = field(default_factory=list)
    """Every invariant that does not hold, in words."""

    def __iadd__(self, other: Tally) -> Tally:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def require(self, rule: bool, words: str) -> None:
        if not rule:
            self.broken.append(words)


def examine(
    victim: Victim, *, database: Path | None = None, may_fail: Sequence[int] = (), again_per_attempt: int = 1
) -> Tally:
    """Look at everything a finished sweep left.

    Args:
        database: MLflow's SQLite file; None is the one in the storage folder.
        may_fail: numbers of runs that were made to fail.
        again_per_attempt: epochs that every attempt beyond the first may have trained once more.
    """
    tally = tally_of(victim, database=database, again_per_attempt=again_per_attempt)
    folder = victim.sweep
    failed = {key for key, row in _by_key(folder).items() if row["state"] == "failed" and key[1] not in may_fail}
    tally.require(not failed, f"runs failed that nothing was done to: {sorted(failed)}")
    tally.require((folder.path / "ranking.json").exists(), "there is no ranking")
    gone = wait_until(lambda: not victim.processes, LEAVE_S)
    tally.stray_processes = 0 if gone else len(victim.processes)
    tally.require(gone, f"processes are left after {LEAVE_S:g} s: {[one.command for one in victim.processes]}")
    return tally


def tally_of(victim: Victim, *, database: Path | None = None, again_per_attempt: int = 1) -> Tally:
    """The records, the ledger, MLflow and the workers' own account of what they did, held against each other."""
    folder = victim.sweep
    tally = Tally(sweeps=1)
    _count_rows(victim, folder, tally)
    _count_epochs(victim, folder, tally, again_per_attempt)
    _look_into_ledger(folder, tally)
    _look_into_mlflow(folder, database or victim.storage / "mlflow.db", tally)
    runs = folder.path / "runs"
    kept = sorted(entry.name for entry in runs.iterdir() if entry.is_dir())
    tally.require(not kept, f"checkpoints of ended runs are left: {kept}")
    return tally


def planned_keys(victim: Victim) -> set[Key]:
    """Every run that the sweep's budget asks for, were nothing stopped by a race."""
    studies = plan(sweep_from_mapping(victim.config)).studies
    return {(study.key, number) for study in studies for number in range(study.runs)}


def _by_key(folder: SweepFolder) -> dict[Key, dict[str, Any]]:
    return {(row["study"], row["number"]): row for row in folder.trials.read().to_pylist()}


def _count_rows(victim: Victim, folder: SweepFolder, tally: Tally) -> None:
    wanted = planned_keys(victim)
    rows = Counter((row["study"], row["number"]) for row in folder.trials.read().to_pylist())
    tally.runs, tally.lost_runs = len(wanted), len(wanted - rows.keys())
    tally.duplicate_runs = rows.total() - len(rows)
    tally.failed_runs = sum(row["state"] == "failed" for row in _by_key(folder).values())
    tally.require(not wanted - rows.keys(), f"runs were lost: {sorted(wanted - rows.keys())}")
    tally.require(not rows.keys() - wanted, f"runs that nobody planned: {sorted(rows.keys() - wanted)}")
    tally.require(tally.duplicate_runs == 0, f"runs with two rows: {[key for key, num in rows.items() if num > 1]}")
    completed = {key for key, row in _by_key(folder).items() if row["state"] == "completed"}
    # All rows as written, also those that readers would leave out.
    tests = Counter((row["study"], row["number"]) for row in folder.tests.read().to_pylist())
    measured = folder.tables()[2]
    read = Counter(zip(measured["study"].to_pylist(), measured["number"].to_pylist(), strict=True))
    tally.require(read.keys() == completed, f"measured on test, or completed, but not both: {read.keys() ^ completed}")
    tally.require(tests.keys() == completed and max(tests.values(), default=1) == 1, f"rows of tests: {tests}")


def _count_epochs(victim: Victim, folder: SweepFolder, tally: Tally, again_per_attempt: int) -> None:
    trained = Counter((line.study, line.number, line.epoch) for line in victim.epochs)
    recorded = Counter((row["study"], row["number"], row["epoch"]) for row in folder.epochs.read().to_pylist())
    tally.epochs_run, tally.epochs_unique, tally.epochs_recorded = trained.total(), len(trained), recorded.total()
    tally.require(max(recorded.values(), default=1) == 1, f"epochs with two rows: {recorded - Counter(set(recorded))}")
    unknown, untrained = trained.keys() - recorded.keys(), recorded.keys() - trained.keys()
    tally.require(not untrained, f"epochs that no worker trained: {sorted(untrained)}")
    attempts: Counter[Key] = Counter()
    for row in folder.attempts.read().to_pylist():
        attempts[row["study"], row["number"]] += 1
    tally.attempts = attempts.total()
    for key, row in _by_key(folder).items():
        epochs = sorted(epoch for *run, epoch in recorded if tuple(run) == key)
        whole = list(range(1, row["epochs"] + 1))
        tally.require(epochs == whole, f"{key} has {row['epochs']} epochs and rows of {epochs}")
        again = sum(num - 1 for (*run, _), num in trained.items() if tuple(run) == key)
        allowed = again_per_attempt * (attempts[key] - 1)
        tally.require(again <= allowed, f"{key} trained {again} epochs again in {attempts[key]} attempts")
        tally.require(
            row["num_attempts"] == attempts[key], f"{key}: {row['num_attempts']} attempts, and {attempts[key]} rows"
        )
        beyond = {epoch for *run, epoch in unknown if tuple(run) == key}
        # The worker of a run that is stopped, or that failed, may have trained an epoch that nobody heard of.
        tally.require(
            row["state"] == "failed" or not beyond, f"{key} ({row['state']}) has no row of trained epochs {beyond}"
        )


def _look_into_ledger(folder: SweepFolder, tally: Tally) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ledger = JournalStorage(JournalFileBackend(str(folder.ledger_file)))
    expected = {"completed": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    rows = _by_key(folder)
    for summary in ledger.get_all_studies():
        trials = ledger.get_all_trials(summary._study_id, deepcopy=False)
        numbers = [trial.number for trial in trials]
        searched = sorted(
            number
            for (study, number), row in rows.items()
            if study == summary.study_name and row["phase"] not in ("confirmation", "reduced")
        )
        tally.require(numbers == searched, f"{summary.study_name}: the ledger has trials {numbers}, not {searched}")
        running = [trial.number for trial in trials if not trial.state.is_finished()]
        tally.left_running += len(running)
        tally.require(not running, f"{summary.study_name}: RUNNING in the ledger: {running}")
        for trial in trials:
            row = rows.get((summary.study_name, trial.number))
            run = json.loads(trial.user_attrs["run"])
            tally.require(run["number"] == trial.number, f"trial {trial.number} of the ledger is run {run['number']}")
            if row is not None:
                same = trial.state.name == expected[row["state"]] and run["config"] == json.loads(row["config"])
                tally.require(same, f"{summary.study_name}:{trial.number} is {trial.state.name}, {row['state']}")


def _look_into_mlflow(folder: SweepFolder, database: Path, tally: Tally) -> None:
    with _reading(database) as ask:
        tagged = Counter(
            text
            for (text,) in ask(
                "select t.value from tags t join runs r on r.run_uuid = t.run_uuid "
                "where t.key = 'orchestrator.run_id' and r.lifecycle_stage = 'active'"
            )
        )
        running = ask("select name from runs where status in ('RUNNING', 'SCHEDULED')")
        twice = [
            (run, *point)
            for run, *point in ask(
                "select t.value, m.key, m.step, count(*) from metrics m join tags t on t.run_uuid = m.run_uuid "
                "where t.key = 'orchestrator.run_id' group by m.run_uuid, m.key, m.step having count(*) > 1"
            )
            # Of a trial. The sweep's own run and those of backbones are told each ranking there is, step 0 of each.
            if run.rpartition("/")[2].isdecimal()
        ]
    tally.mlflow_runs = tagged.total()
    tally.duplicate_mlflow_runs = tagged.total() - len(tagged)
    tally.duplicate_mlflow_points = len(twice)
    tally.left_running += len(running)
    tally.require(tally.duplicate_mlflow_runs == 0, f"two MLflow runs of {[k for k, n in tagged.items() if n > 1]}")
    tally.require(not running, f"RUNNING in MLflow: {running}")
    tally.require(not twice, f"points that MLflow has twice: {twice[:5]}")
    known = {f"{folder.sweep_id}/{row['task']}/{row['backbone']}/{row['number']}" for row in _by_key(folder).values()}
    tally.require(known <= tagged.keys(), f"MLflow lacks {sorted(known - tagged.keys())}")
    others = [key for key in tagged.keys() - known if key.rpartition("/")[2].isdecimal()]
    tally.require(not others, f"MLflow has runs of no trial: {others}")


@contextlib.contextmanager
def _reading(database: Path) -> Iterator[Any]:
    """Questions in SQL: MLflow's own client takes a hundred times as long for them."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        yield lambda question: connection.execute(question).fetchall()
    finally:
        connection.close()


_OF_TIME = ("train_s", "duration_s", "memory_mib", "node", "device", "started_at", "finished_at", "num_attempts")


def differences(one: SweepFolder, other: SweepFolder) -> list[str]:
    """Where two sweeps of the same seed differ in anything but time: none where nothing was lost on the way."""
    found = []
    left, right = _by_key(one), _by_key(other)
    if left.keys() != right.keys():
        return [f"runs {sorted(left.keys() ^ right.keys())} are in one of them only"]
    for key, row in left.items():
        found += [
            f"{key} {name}: {value!r}, {right[key][name]!r}"
            for name, value in row.items()
            if name not in _OF_TIME and value != right[key][name]
        ]
    curves = (
        {(r["study"], r["number"], r["epoch"]): r["val_score"] for r in sweep.epochs.read().to_pylist()}
        for sweep in (one, other)
    )
    mine, theirs = curves
    found += [f"epoch {key}" for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key)]
    return found
