"""``ui`` without an MLflow: what it refuses, which port it takes, and what it makes of a server's answers."""

from __future__ import annotations

import json
import signal
import socket
import sys
import urllib.error
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from mlflow_server import answering, free_port

from orchestrator.dashboard import whole_lines
from orchestrator.errors import EnvironmentUnusable
from orchestrator.folder import find_sweep
from orchestrator.tracking import pages
from orchestrator.tracking.link import RANKING_VIEW, TABLE_VIEW, VIEWS, view_key
from orchestrator.tracking.naming import SWEEP_ID_TAG
from orchestrator.tracking.server import Command, serving
from orchestrator.tracking.server import free_port as next_free_port
from orchestrator.viewing import ended_by_signals

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """URI of a database that is there; nobody opens it."""
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\x00")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_a_sweep_that_never_reached_mlflow(stored: Path, run: Run, tmp_path: Path) -> None:
    code, out, err = run("ui", "--storage", str(stored), "--tracking-uri", f"sqlite:///{tmp_path / 'no.db'}")
    newest = find_sweep(None, stored).sweep_id
    assert (code, out) == (4, "")
    assert f"python -m orchestrator report {newest} --storage {stored}" in err
    assert not (tmp_path / "no.db").exists()


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("http://127.0.0.1:1", 4, "must answer"),
        ("file:./mlruns", 2, "mlflow migrate-filestore"),
        ("databricks", 2, "Databricks workspace"),
        ("postgresql://me:***@h/db", 2, "was not kept with the sweep"),
    ],
)
def test_what_cannot_be_served(stored: Path, run: Run, uri: str, code: int, said: str) -> None:
    found, out, err = run("ui", "--storage", str(stored), "--tracking-uri", uri)
    assert (found, out) == (code, "")
    assert said in err


def test_a_port_that_was_asked_for_and_is_taken(stored: Path, run: Run, database: str) -> None:
    with answering(404) as base:
        port = base.rpartition(":")[2]
        code, out, err = run("ui", "--storage", str(stored), "--tracking-uri", database, "--port", port)
    assert (code, out) == (4, "")
    assert f"port {port} must be free, and another program has it; leave --port out" in err


def test_the_next_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert next_free_port(port) > port


def test_without_the_dashboard_the_line_that_installs_it(
    stored: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.dashboard.find_spec", lambda name: None)
    code, _, err = run("ui", "--storage", str(stored), "--optuna")
    assert code == 4
    assert "pip install 'orchestrator[dashboard]'" in err


def test_half_a_line_of_a_ledger_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.journal"
    ledger.write_bytes(b'{"op_code": 0}\n{"op_code": 1}\n{"op_')
    assert whole_lines(ledger) == b'{"op_code": 0}\n{"op_code": 1}\n'


def test_a_server_that_does_not_start_is_quoted() -> None:
    says = Command(arguments=(sys.executable, "-c", "import sys; sys.exit('the database is of an older version')"))
    with (
        pytest.raises(EnvironmentUnusable, match=r"exit code 1: \nthe database is of an older version"),
        serving(says, free_port()),
    ):
        pytest.fail("it never answered")


def test_a_server_is_ended_with_what_it_started() -> None:
    port = free_port()
    child = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-m', 'http.server', '-b', '127.0.0.1', '{port}'])"
    )
    with serving(Command(arguments=(sys.executable, "-c", child)), port, health="/") as served:
        assert served.base == f"http://127.0.0.1:{port}"
    assert served.process.returncode is not None
    assert next_free_port(port) == port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_without_an_error(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    reached = []
    with ended_by_signals():
        signal.raise_signal(number)
        reached.append("never")
    assert reached == []
    assert signal.getsignal(number) is before


class FakeServer:
    """An MLflow that has one experiment with one parent run."""

    def __init__(self, latest: str, metrics: list[str]) -> None:
        keys = [f"mlflow.sharedViewState.{view_key(name)}" for name in VIEWS]
        tags = [{"key": key, "value": "..."} for key in keys] + [{"key": SWEEP_ID_TAG, "value": latest}]
        self.experiment = {"experiment_id": "7", "tags": tags}
        self.metrics = metrics

    def get(self, address: str, headers: Any, *, timeout_s: float) -> bytes:
        if not unquote(address).endswith("experiment_name=adapt/digits"):
            raise urllib.error.HTTPError(address, 404, "no such experiment", {}, BytesIO())  # type: ignore[arg-type]
        return json.dumps({"experiment": self.experiment}).encode()

    def post(self, address: str, headers: Any, question: Any, *, timeout_s: float) -> Any:
        if "'mine/digits'" not in question["filter"]:
            return {}
        return {"runs": [{"info": {"run_id": "r"}, "data": {"metrics": [{"key": key} for key in self.metrics]}}]}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def fake(**options: Any) -> None:
        server = FakeServer(**options)
        monkeypatch.setattr(pages.rest, "get", server.get)
        monkeypatch.setattr(pages.rest, "post", server.post)

    return fake  # type: ignore[return-value]


def test_pages_of_a_ranked_sweep(fake: Callable[..., None]) -> None:
    fake(latest="mine", metrics=["best/score"])
    [found] = pages.pages_of("http://h", {}, "mine", ["digits", "other"])
    assert tuple(found.views) == VIEWS
    assert "compareRunsMode=TABLE" in found.views[TABLE_VIEW]
    assert found.report == "http://h/#/experiments/7/runs/r/artifacts/report.html?workflowType=machine_learning"
    assert "'model'" in unquote(found.plain)


def test_before_there_is_a_ranking_no_page_of_it_is_named(fake: Callable[..., None]) -> None:
    fake(latest="mine", metrics=[])
    [found] = pages.pages_of("http://h", {}, "mine", ["digits"])
    assert RANKING_VIEW not in found.views
    assert found.report is None
    assert "'trial'" in unquote(found.plain)


def test_views_of_a_later_sweep_are_not_passed_off_as_this_ones(fake: Callable[..., None]) -> None:
    fake(latest="later", metrics=["best/score"])
    [found] = pages.pages_of("http://h", {}, "mine", ["digits"])
    assert (found.views, found.other) == ({}, "later")
    assert pages.pages_of("http://h", {}, "unknown", ["digits"]) == []
