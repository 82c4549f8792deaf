"""MLflow dead, dying, slow or unwilling: the sweep must not notice."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from made_sweep import BACKBONES, START, MadeSweep
from mlflow_server import Server, Wire, answering, free_port
from read_back import artifacts, content, held
from store_faults import DatabaseDeleted, DiskFull, ExperimentDeleted, Fault, NoPlaceForFiles
from test_tracking_live import check_sweep, log_live, write_again

from orchestrator.tracking import Tracker, TrackingSummary, tracker
from orchestrator.tracking.metric import milliseconds

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
        self._publication = sweep.publication(folder)
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
        self._timed(lambda: self.tracker.publish(self._publication))
        self._timed(lambda: self.tracker.link("digits"))
        begin = time.perf_counter()
        summary = self.tracker.close(timeout_s=timeout_s, status="FINISHED")
        assert time.perf_counter() - begin < timeout_s + 1
        assert self.spent_s < MOST_S
        return summary

    def wait_until_said(self) -> None:
        until = time.monotonic() + 60
        while not self.said:
            assert time.monotonic() < until
            time.sleep(0.05)

    def wait_until_written(self, uri: str) -> None:
        """The database at `uri` has a trial of the sweep."""
        until = time.monotonic() + 60
        while "/#/experiments/" not in self.tracker.link("digits").url or len(held(uri, self._sweep)) < 2:
            assert time.monotonic() < until
            time.sleep(0.1)

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


def test_what_was_never_sent_is_rebuilt_as_it_would_have_been_written(
    server: Server, store_uri: str, files: Path, tmp_path: Path
) -> None:
    """Runs, epochs, data, what workers took, pictures, summary runs, views, words and files."""
    sweep = MadeSweep(sweep_id="never-sent", num_trials=3, pictures=tmp_path / "pictures")
    driver = Driver(f"http://127.0.0.1:{free_port()}", sweep, files)
    driver.go()
    assert not driver.end(timeout_s=20).complete
    for _ in range(2):
        assert write_again(sweep, server.uri, files).complete
    live = log_live(sweep, store_uri, files)
    assert live.complete
    rebuilt, written = content(server.uri, sweep), content(store_uri, sweep)
    for kind, expected in written.items():
        assert rebuilt[kind] == expected, kind
    times = {run_id: run.times for run_id, run in held(server.uri, sweep).items() if not run_id.endswith("/model")}
    parent = f"{sweep.sweep_id}/digits"
    assert times.pop(parent) == (milliseconds(START), max(end or 0 for run_id, (_, end) in times.items()))


def test_a_cut_wire_that_is_mended_loses_nothing(server: Server, files: Path) -> None:
    wire = Wire(server.port)
    sweep = MadeSweep(sweep_id="mended")
    driver = Driver(wire.uri, sweep, files)
    driver.go(12)
    time.sleep(1)
    wire.cut()
    driver.go(20)
    driver.wait_until_said()
    wire.mend()
    driver.go()
    summary = driver.end(timeout_s=60)
    wire.cut()
    assert (summary.complete, summary.error, summary.runs_written) == (True, None, 10)
    assert len(driver.said) == 1
    check_sweep(server.database, sweep)


def test_answers_that_are_lost_make_nothing_twice(server: Server, files: Path) -> None:
    wire = Wire(server.port, lost_every=7)
    sweep = MadeSweep(sweep_id="lost-answers")
    driver = Driver(wire.uri, sweep, files)
    driver.go()
    driver.end(timeout_s=60)
    wire.cut()
    assert wire.num_answers > 14
    assert write_again(sweep, server.uri, files).complete, "what the last tries did not bring"
    check_sweep(server.database, sweep)


def test_a_server_that_accepts_and_never_answers(files: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        driver = Driver(f"http://127.0.0.1:{silent.getsockname()[1]}", MadeSweep(), files)
        driver.go()
        summary = driver.end(timeout_s=1)
    assert (summary.complete, len(driver.said)) == (False, 1)
    assert "within 1 s" in driver.said[0]


def test_an_outage_that_outlasts_memory_is_left_to_report(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "_MAX_EVENTS", 20)
    driver = Driver(f"http://127.0.0.1:{free_port()}", MadeSweep(), files)
    driver.go()
    summary = driver.end(timeout_s=20)
    assert (summary.complete, len(driver.said)) == (False, 1)
    assert "no more are kept" in str(summary.error)
    assert f"report {MadeSweep().sweep_id}" in driver.said[0]
    assert driver.tracker._queue.qsize() <= 20


def test_a_slow_server_costs_the_sweep_nothing(server: Server, files: Path) -> None:
    wire = Wire(server.port, delay_s=5)
    driver = Driver(wire.uri, MadeSweep(sweep_id="slow"), files)
    driver.go()
    summary = driver.end(timeout_s=2)
    wire.cut()
    assert not summary.complete
    assert "within 2 s" in str(summary.error)
    assert len(driver.said) == 1


@pytest.mark.parametrize("kind", [DatabaseDeleted, ExperimentDeleted, NoPlaceForFiles, DiskFull])
def test_a_store_that_breaks_midway_is_said_once_and_made_up_for(
    kind: type[Fault], store_uri: str, files: Path, tmp_path: Path
) -> None:
    fault = kind(tmp_path / "store")
    fault.start()
    try:
        sweep = MadeSweep(num_trials=2, pictures=tmp_path / "pictures")
        driver = Driver(store_uri, sweep, files)
        driver.go(6)
        driver.wait_until_written(store_uri)
        fault.strike()
        driver.go()
        summary = driver.end(timeout_s=30)
        assert (summary.complete, len(driver.said)) == (False, 1)
        assert kind.words in driver.said[0] + str(summary.error)
        fault.mend()
        assert write_again(sweep, store_uri, files).complete
        check_sweep(store_uri, sweep)
        confirmed = f"{sweep.sweep_id}/digits/{BACKBONES[0]}/2"
        assert {"measures.json", "confusion.json", "pictures/saliency.png"} <= set(artifacts(store_uri, confirmed))
        assert {"report.html", "config/sweep.yaml"} <= set(artifacts(store_uri, f"{sweep.sweep_id}/digits"))
    finally:
        fault.clear()


def test_a_database_that_comes_back_gets_everything(store_uri: str, files: Path, tmp_path: Path) -> None:
    fault = DatabaseDeleted(tmp_path / "store")
    sweep = MadeSweep(num_trials=2)
    driver = Driver(store_uri, sweep, files)
    driver.go(6)
    driver.wait_until_written(store_uri)
    fault.strike()
    driver.go(10)
    driver.wait_until_said()
    fault.mend()
    driver.go()
    summary = driver.end(timeout_s=60)
    assert (summary.complete, summary.error, len(driver.said)) == (True, None, 1)
    check_sweep(store_uri, sweep)


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
    driver.wait_until_written(server.database)
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
