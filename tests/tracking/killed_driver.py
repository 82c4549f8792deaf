"""Drives made-up sweeps through a `Tracker` in processes that are killed, or that share one database.

    python killed_driver.py kill URI FOLDER SEED KILLS     one sweep, its driver killed as often, then driven to its end
    python killed_driver.py share URI FOLDER NUM           as many sweeps at once, each by a process of its own

mlflow is imported once; every driver is forked before there is a thread or a connection.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow  # noqa: F401
import pyarrow as pa
from made_sweep import MadeSweep, as_started

from orchestrator.records import ATTEMPTS, EPOCHS, TESTS, TRIALS
from orchestrator.tracking import Recorded, Tracker, tracker

KILLED = MadeSweep(sweep_id="killed-often", num_trials=6)
_LANES = 2  # runs under way at a time

Key = tuple[str, int]


def shared(number: int) -> MadeSweep:
    """The sweep of one of the drivers that share a database."""
    return MadeSweep(sweep_id=f"shared-{number}", num_trials=1, num_confirmations=0)


class Ledger:
    """What a driver has recorded, each line on disk before MLflow is told: as the project's own tables are."""

    def __init__(self, file: Path, sweep: MadeSweep) -> None:
        self._file = file
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        self.attempts: defaultdict[Key, int] = defaultdict(int)
        self.epochs: defaultdict[Key, int] = defaultdict(int)
        self.ended: set[Key] = set()
        for what, study, number in lines:
            key = study, number
            if what == "attempt":
                self.attempts[key] += 1
            elif what == "epoch":
                self.epochs[key] += 1
            else:
                self.ended.add(key)
        self._sweep = sweep

    def add(self, what: str, key: Key) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps([what, *key]) + "\n")

    def recorded(self) -> Recorded:
        """As a resumed driver reads its sweep's folder."""
        sweep = self._sweep

        def known(row: dict[str, Any]) -> bool:
            return (row["study"], row["number"]) in self.ended

        def started(row: dict[str, Any]) -> bool:
            return bool(row["epoch"] <= self.epochs[row["study"], row["number"]])

        trials = [row | {"num_attempts": self.attempts[key_of(row)]} for row in sweep.trials() if known(row)]
        attempts = [
            {"study": study, "number": number, "attempt": attempt, "cause": cause_of(attempt), "started_at": 0}
            for (study, number), num_attempts in self.attempts.items()
            for attempt in range(1, num_attempts + 1)
        ]
        return Recorded(
            trials=pa.Table.from_pylist(trials, TRIALS),
            epochs=pa.Table.from_pylist([row for row in sweep.epochs() if started(row)], EPOCHS),
            tests=pa.Table.from_pylist([row for row in sweep.tests() if known(row)], TESTS),
            attempts=pa.Table.from_pylist(attempts, ATTEMPTS),
        )


def key_of(row: dict[str, Any]) -> Key:
    return row["study"], row["number"]


def cause_of(attempt: int) -> str | None:
    return None if attempt == 1 else "resumed"


def drive(sweep: MadeSweep, uri: str, folder: Path, pause_s: float, is_patient: bool) -> None:
    """Go on with a sweep as far as the process lives.

    Args:
        is_patient: the first run starts when MLflow is ready to be written.
    """
    ledger = Ledger(folder / f"{sweep.sweep_id}.jsonl", sweep)
    made = Tracker(sweep.info, uri, say=lambda text: print(text, file=sys.stderr))
    made.start()
    made.dataset(sweep.dataset)
    made.catch_up(ledger.recorded())
    while is_patient and "/#/experiments/" not in made.link("digits").url:
        time.sleep(0.01)
    lanes = [steps(sweep, ledger, made, lane) for lane in range(_LANES)]
    while lanes:
        for lane in list(lanes):
            if next(lane, "end") == "end":
                lanes.remove(lane)
            time.sleep(pause_s)
    made.publish(sweep.publication(folder / f"files-{sweep.sweep_id}"))
    summary = made.close(timeout_s=120, status="FINISHED")
    if not summary.complete:
        raise RuntimeError(summary.error)


def steps(sweep: MadeSweep, ledger: Ledger, made: Tracker, lane: int) -> Iterator[None]:
    tests = {key_of(row): row for row in sweep.tests()}
    for trial in sweep.trials()[lane::_LANES]:
        key = key_of(trial)
        if key in ledger.ended:
            continue
        epochs = [row for row in sweep.epochs() if key_of(row) == key]
        attempt = ledger.attempts[key] + 1
        ledger.add("attempt", key)
        made.run_started(as_started(trial) | {"attempt": attempt, "cause": cause_of(attempt)})
        for row in epochs[: ledger.epochs[key]]:  # recorded by a driver before this one, told or not
            made.epoch(row)
        yield
        for row in epochs[ledger.epochs[key] :]:
            ledger.add("epoch", key)
            made.epoch(row)
            yield
        ledger.add("trial", key)
        made.run_finished(trial | {"num_attempts": attempt}, tests.get(key))
        yield


def forked(sweep: MadeSweep, uri: str, folder: Path, pause_s: float, is_patient: bool = False) -> int:
    """A driver's process."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        tracker._BATCH_S = 0.05  # type: ignore[misc]
        drive(sweep, uri, folder, pause_s, is_patient)
        code = 0
    finally:
        os._exit(code)


def kill_often(uri: str, folder: Path, seed: int, num_kills: int) -> list[int]:
    """Returns how many records there were at each kill."""
    rng = random.Random(seed)
    ledger, records = folder / f"{KILLED.sweep_id}.jsonl", []
    for _ in range(num_kills):
        before = _num_lines(ledger)
        driver = forked(KILLED, uri, folder, 0.05, is_patient=rng.random() < 0.7)
        some = rng.choice((0, 1, 2, 4, 6))
        while _num_lines(ledger) < before + some:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.25))
        os.kill(driver, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(driver, 0)[1]) == signal.SIGKILL, "the sweep was over before the kill"
        records.append(_num_lines(ledger))
    _, status = os.waitpid(forked(KILLED, uri, folder, 0.0), 0)
    assert status == 0
    return records


def share(uri: str, folder: Path, num_drivers: int) -> list[int]:
    """Returns the exit statuses."""
    drivers = [forked(shared(number), uri, folder, 0.01) for number in range(num_drivers)]
    return [os.waitpid(driver, 0)[1] for driver in drivers]


def _num_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


if __name__ == "__main__":
    mode, uri, folder, *numbers = sys.argv[1:]
    found = {"kill": kill_often, "share": share}[mode](uri, Path(folder), *map(int, numbers))
    print(json.dumps(found))
