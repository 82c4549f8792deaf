"""What is refused before a sweep starts, with the fix, and what is not."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import time
from pathlib import Path

import pytest
from mlflow_server import answering, free_port

from orchestrator.cli import main
from orchestrator.errors import EnvironmentUnusable, OrchestratorError, UsageError
from orchestrator.tracking import check, preflight


@pytest.mark.parametrize("uri", ["file:./mlruns", "./mlruns", "", "not a uri", "gopher://h", "mlruns"])
def test_a_scheme_mlflow_does_not_take_names_sqlite(uri: str) -> None:
    with pytest.raises(UsageError, match=r"sqlite:///mlflow\.db"):
        check(uri)


def test_a_password_in_a_bad_uri_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        check("gopher://me:hunter2@h")
    assert "hunter2" not in str(caught.value)


def test_a_new_database_gets_its_folder(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path}/a/b/mlflow.db")
    assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a" / "b" / "mlflow.db").exists()


def test_a_database_must_be_one_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database")
    (tmp_path / "blocked").write_text("")
    for uri, rule in (
        (f"sqlite:///{tmp_path}/text.db", "must be a SQLite database"),
        (f"sqlite:///{tmp_path}", "is a folder"),
        (f"sqlite:///{tmp_path}/blocked/x.db", "must be readable"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
    ):
        with pytest.raises(OrchestratorError, match=rule):
            check(uri)


def test_a_server_that_does_not_answer_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    check(f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(preflight, "_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        check(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - begin < 2


@pytest.mark.parametrize("status", [200, 500, 503])
def test_a_server_that_answers_or_ails_is_no_error(status: int) -> None:
    with answering(status, '{"experiments": []}') as uri:
        check(uri)


@pytest.mark.parametrize(
    ("status", "body", "fix"),
    [
        (401, "", "MLFLOW_TRACKING_USERNAME"),
        (403, "Permission denied", "MLFLOW_TRACKING_TOKEN"),
        (403, "Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts '127.0.0.1:"),
        (404, "no such page", "--tracking-uri"),
        (200, "<html>please log in</html>", "login page"),
    ],
)
def test_a_server_that_refuses_is_an_error_with_the_fix(status: int, body: str, fix: str) -> None:
    with answering(status, body) as uri, pytest.raises(EnvironmentUnusable) as caught:
        check(uri.replace("://", "://me:hunter2@"))
    assert fix in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_plug_in_that_signs_requests_is_left_to_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "plugin")
    with answering(401) as uri:
        check(uri)


def test_a_deleted_experiment_is_named_with_the_way_back(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER, name TEXT, lifecycle_stage TEXT)")
        database.execute("INSERT INTO experiments VALUES (7, 'adapt/digits', 'deleted'), (8, 'adapt/birds', 'active')")
        database.commit()
    check(f"sqlite:///{path}", ["birds", "never seen"])
    with pytest.raises(EnvironmentUnusable, match="restore --experiment-id 7`"):
        check(f"sqlite:///{path}", ["birds", "digits"])
    body = '{"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}'
    with answering(200, body) as uri, pytest.raises(EnvironmentUnusable, match="restore --experiment-id 7`"):
        check(uri, ["digits"])


def test_a_password_that_was_not_kept_is_asked_for() -> None:
    with pytest.raises(UsageError, match="--tracking-uri"):
        check("https://***@mlflow.example")


def test_what_is_not_safe_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, '{"experiments": []}') as uri:
        assert check(uri).warnings == ()
        assert ["holds a password" in text for text in check(uri.replace("://", "://me:hunter2@")).warnings] == [True]
        monkeypatch.setattr(preflight, "_is_loopback", lambda host: False)
        assert ["--app-name basic-auth" in text for text in check(uri).warnings] == [True]
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2")
        words = check(uri).warnings
    assert ["use https" in words[0], "basic-auth" in words[1]] == [True, True]
    assert "hunter2" not in str(words)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("10.0.0.1", False), ("mlflow.example", False)],
)
def test_which_hosts_are_this_machine(host: str, expected: bool) -> None:
    assert preflight._is_loopback(host) == expected


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (401, "", 4, "MLFLOW_TRACKING_USERNAME"),
        (403, "Invalid Host header", 4, "--allowed-hosts"),
        (200, '{"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}', 4, "restore --experiment-id 7"),
        (None, "./mlruns", 2, "migrate-filestore"),
        (None, "file:/tmp/mlruns", 2, "migrate-filestore"),
        (None, "htp://h", 2, "http://"),
    ],
)
def test_nothing_is_started_where_nothing_can_be_tracked(
    status: int | None, body: str, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.ExitStack() as stack:
        uri = body if status is None else stack.enter_context(answering(status, body))
        found = main(["sweep", "quickstart", "--storage", str(tmp_path / "sweeps"), "--tracking-uri", uri])
    told = capsys.readouterr()
    assert (found, told.out) == (code, "")
    assert words in told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "sweeps").exists()
