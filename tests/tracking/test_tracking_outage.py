"""MLflow dead, dying, slow or unwilling: the sweep must not notice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from made_sweep import MadeSweep
from mlflow_server import Server, Wire, answering, free_port
from read_back import held
from test_tracking_live import VERDICT, check_sweep, write_again

from orchestrator.tracking import Tracker, TrackingSummary, tracker

pytestmark = pytest.mark.slow

MOST_S = 1.0
"""What all calls together may take from the sweep: less than any one of them that waited for a server would."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import mlflow  # noqa: F401  # its first import holds Python's lock for up to 0.2 s at a time

    monkeypatch.setattr(tracker, "_BATCH_S", 0.05)
    monkeypatch.setattr(tracker, "_FIRST_PAUSE_S", 0.2)
    monkeypatch.chdir(tmp_path)


class Driver:
    """Makes a sweep's calls and notes how long they took and what was said."""

    def __init__(self, uri: str, sweep: MadeSweep, folder: Path) -> None:
        self.said: list[str] = []
        self.spent_s = 0.0
        self._sweep = sweep
        self._files = sweep.files(folder)
        self.tracker = Tracker(sweep.info, uri, say=self.said.append)
        self._calls = sweep.calls(self.tracker)
        self._timed(self.tracker.start)

    def go(self, num_calls: int = 1000) -> None:
        for _ in range(num_calls):
            begin = time.perf_counter()
            if next(self._calls, "end") == "end":
                break
            self.spent_s += time.perf_counter() - begin
            time.sleep(0.01)

    def end(self, timeout_s: float) -> TrackingSummary:
        self._timed(lambda: self.tracker.publish(self._sweep.ranking(), {"digits": VERDICT}, self._files))
        self._timed(lambda: self.tracker.link("digits"))
        begin = time.perf_counter()
        summary = self.tracker.close(timeout_s=timeout_s, status="FINISHED")
        assert time.perf_counter() - begin < timeout_s + 1
        assert self.spent_s < MOST_S
        return summary

    def _timed(self, call: object) -> None:
        begin = time.perf_counter()
        call()  # type: ignore[operator]
        self.spent_s += time.perf_counter() - begin


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return tmp_path / "files"


def test_a_server_that_was_never_up(files: Path) -> None:
    sweep = MadeSweep()
    driver = Driver(f"http://me:hunter2@127.0.0.1:{free_port()}", sweep, files)
    driver.go()
    summary = driver.end(timeout_s=20)
    assert (summary.complete, summary.runs_written) == (False, 0)
    assert len(driver.said) == 1
    assert "hunter2" not in driver.said[0] + str(summary)
    assert f"report {sweep.sweep_id}" in driver.said[0]


def test_a_cut_wire_that_is_mended_loses_nothing(server: Server, files: Path) -> None:
    wire = Wire(server.port)
    sweep = MadeSweep(sweep_id="mended")
    driver = Driver(wire.uri, sweep, files)
    driver.go(12)
    time.sleep(1)
    wire.cut()
    driver.go(20)
    until = time.monotonic() + 30
    while not driver.said:
        assert time.monotonic() < until
        time.sleep(0.1)
    wire.mend()
    driver.go()
    summary = driver.end(timeout_s=60)
    wire.cut()
    assert (summary.complete, summary.error, summary.runs_written) == (True, None, 10)
    assert len(driver.said) == 1
    check_sweep(server.database, sweep)


def test_a_slow_server_costs_the_sweep_nothing(server: Server, files: Path) -> None:
    wire = Wire(server.port, delay_s=0.7)
    driver = Driver(wire.uri, MadeSweep(sweep_id="slow"), files)
    driver.go()
    summary = driver.end(timeout_s=2)
    wire.cut()
    assert not summary.complete
    assert "within 2 s" in str(summary.error)
    assert len(driver.said) == 1


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_server_that_refuses_or_fails(status: int, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(status, "You shall not pass") as uri:
        driver = Driver(uri, MadeSweep(), files)
        driver.go()
        summary = driver.end(timeout_s=15)
    assert not summary.complete
    assert str(status) in str(summary.error)
    assert len(driver.said) == 1


def test_a_database_that_is_none(tmp_path: Path, files: Path) -> None:
    path = tmp_path / "not.db"
    path.write_text("not a database, and too long to be taken for an empty one" * 100)
    driver = Driver(f"sqlite:///{path}", MadeSweep(), files)
    driver.go()
    summary = driver.end(timeout_s=5)
    assert not summary.complete
    assert len(driver.said) == 1


def test_a_server_killed_midway(server: Server, store_uri: str, files: Path) -> None:
    sweep = MadeSweep(sweep_id="killed")
    driver = Driver(server.uri, sweep, files)
    driver.go(12)
    until = time.monotonic() + 30
    while not driver.tracker.link("digits").url.startswith(f"{server.uri}/#/experiments/"):
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1)
    server.kill()
    driver.go()
    summary = driver.end(timeout_s=15)
    assert not summary.complete
    assert len(driver.said) == 1
    assert write_again(sweep, store_uri, files).complete
    check_sweep(store_uri, sweep)
    assert {run.status for run in held(server.database, sweep).values()} >= {"RUNNING"}
    for _ in range(2):  # no server is there to take files, its database is
        write_again(sweep, server.database, files, files={})
        check_sweep(server.database, sweep)
