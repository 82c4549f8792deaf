"""Drivers killed at any moment and resumed, and drivers that share a database: everything in MLflow exactly once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from killed_driver import KILLED, Ledger, key_of, shared
from made_sweep import BACKBONES, MadeSweep, as_started
from read_back import held
from test_tracking_live import check_sweep, unheard, without_times, write_again

from orchestrator.tracking import Tracker, tracker
from orchestrator.tracking.database import Database, make_database
from orchestrator.tracking.failure import UnavailableError

_DRIVER = Path(__file__).with_name("killed_driver.py")


def run_driver(*arguments: object) -> Any:
    done = subprocess.run(
        [sys.executable, str(_DRIVER), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_driver_killed_at_random_moments_leaves_everything_once(store_uri: str, tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{shutil.copyfile(store_uri.removeprefix('sqlite:///'), tmp_path / 'elsewhere.db')}"
    kills = run_driver("kill", store_uri, tmp_path, 1, 6)
    ledger = Ledger(tmp_path / f"{KILLED.sweep_id}.jsonl", KILLED)
    assert max(ledger.attempts.values()) > 1, f"no run was resumed; records at the kills: {kills}"
    runs = check_sweep(store_uri, KILLED)  # one run for each, one point at each step, nothing RUNNING
    for trial in KILLED.trials():
        tags = runs[f"{KILLED.sweep_id}/digits/{trial['backbone']}/{trial['number']}"].tags
        num_attempts = ledger.attempts[key_of(trial)]
        assert tags["orchestrator.attempts"] == str(num_attempts)
        assert tags.get("orchestrator.cause") == ("resumed" if num_attempts > 1 else None)
    recorded = ledger.recorded()
    changes = {"trials": recorded.trials, "attempts": recorded.attempts}
    assert write_again(KILLED, elsewhere, tmp_path / "files", **changes).complete
    assert without_times(held(elsewhere, KILLED)) == without_times(runs), "replayed records say the same"


@pytest.mark.slow
def test_drivers_that_share_a_database_lose_nothing(store_uri: str, tmp_path: Path) -> None:
    assert run_driver("share", store_uri, tmp_path, 6) == [0] * 6
    for number in range(6):
        check_sweep(store_uri, shared(number))


@pytest.mark.slow
def test_runs_that_nobody_goes_on_with_do_not_stay_running(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "_BATCH_S", 0.01)
    sweep = MadeSweep(num_trials=2, num_confirmations=0)
    lost, going_on = sweep.trials()[:2]
    killed = Tracker(sweep.info, store_uri, say=unheard)
    killed.start()
    for trial in (lost, going_on):
        killed.run_started(as_started(trial) | {"attempt": 1, "cause": None})
    until = time.monotonic() + 60
    while len(_held_so_far(store_uri, sweep)) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    resumed = Tracker(sweep.info, store_uri, say=unheard)
    resumed.start()
    resumed.run_started(as_started(going_on) | {"attempt": 2, "cause": "resumed"})
    resumed.run_finished(going_on | {"num_attempts": 2}, None)
    assert resumed.close(timeout_s=60, status="KILLED").complete
    assert {run_id.rpartition("digits")[2]: run.status for run_id, run in held(store_uri, sweep).items()} == {
        "": "KILLED",
        f"/{BACKBONES[0]}/0": "KILLED",
        f"/{BACKBONES[1]}/0": "FINISHED",
    }


def _held_so_far(uri: str, sweep: MadeSweep) -> dict[str, Any]:
    try:
        return held(uri, sweep)
    except AttributeError:  # the experiment is not there yet
        return {}


class MadeDatabase:
    """Stands for mlflow's client, which migrates a new database step by step."""

    def __init__(self, uri: str) -> None:
        path = Path(uri.removeprefix("sqlite:///"))
        with path.open("a") as file:
            for step in range(3):
                file.write(f"step {step}\n")
                file.flush()
                time.sleep(0.05)
        self._tracking_client = SimpleNamespace()


def in_children(path: Path, num_children: int, connect: Any) -> list[int]:
    """Make a database at `path` from so many processes at once. Returns their exit statuses."""
    children = []
    for _ in range(num_children):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                make_database(path, connect)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


def test_three_processes_make_one_database_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    assert in_children(path, 3, MadeDatabase) == [0, 0, 0]
    assert path.read_text() == "step 0\nstep 1\nstep 2\n"
    assert sorted(file.name for file in path.parent.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_process_killed_while_it_makes_a_database_leaves_none(tmp_path: Path) -> None:
    def killed(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    path = tmp_path / "mlflow.db"
    path.touch()  # as `sqlite3 mlflow.db ''` leaves it
    assert in_children(path, 1, killed) == [signal.SIGKILL]
    assert not path.exists()
    make_database(path, MadeDatabase)
    assert path.read_text().endswith("step 2\n")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_database_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("mine")
    make_database(path, MadeDatabase)
    assert path.read_text() == "mine"


def test_a_database_that_goes_is_missed_and_one_that_takes_its_place_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("")
    disposed: list[int] = []
    engine = SimpleNamespace(dispose=lambda: disposed.append(1))
    client = SimpleNamespace(_tracking_client=SimpleNamespace(store=SimpleNamespace(engine=engine)))
    database = Database(path)
    database.check(client)
    assert not disposed
    path.rename(tmp_path / "kept.db")
    with pytest.raises(UnavailableError, match="is gone"):
        database.check(client)
    shutil.copyfile(tmp_path / "kept.db", path)
    database.check(client)
    database.check(client)
    assert len(disposed) == 1
