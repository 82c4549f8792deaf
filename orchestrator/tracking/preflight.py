"""Whether a sweep can be tracked where its user asked for, checked before anything is spent.

Only what a user must fix is an error. A server that does not answer is none: it may come back, and what it
missed is written later.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import sqlite3
import urllib.error
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from orchestrator.errors import EnvironmentUnusable, UsageError, one_line, redact
from orchestrator.tracking import rest
from orchestrator.tracking.location import kind, sqlite_path, web_base
from orchestrator.tracking.naming import experiment_name

__all__ = ["Checked", "check"]

_TIMEOUT_S: Final = 5.0
_SQLITE_MAGIC: Final = b"SQLite format 3\x00"
_OTHER_AUTH: Final = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What is no error."""

    silent: str | None = None
    """Why a server does not answer just now; None of one that does, and of a database."""

    warnings: tuple[str, ...] = ()
    """What works and is not safe, a sentence each."""


def check(tracking_uri: str, tasks: Iterable[str] = ()) -> Checked:
    """Refuse a tracking URI that cannot work until its user does something about it.

    Args:
        tasks: names of those whose experiments are to be written.

    Raises:
        UsageError: the URI is of no kind that MLflow takes.
        EnvironmentUnusable: the database cannot be written, the server refuses us, or an experiment was
            deleted. Every message names the fix.
    """
    if "***@" in tracking_uri:
        raise UsageError(
            "the password in the tracking URI was not kept with the sweep: give the whole URI with --tracking-uri"
        )
    match kind(tracking_uri):
        case "server":
            return _check_server(tracking_uri, tasks)
        case "sqlite":
            _check_sqlite(tracking_uri, tasks)
        case "unknown":
            raise UsageError(
                f"a tracking URI must be http(s)://, sqlite:/// or another database, got"
                f" {redact(tracking_uri)!r}; MLflow no longer writes to plain folders: use"
                " sqlite:///mlflow.db, and `mlflow migrate-filestore` for an old ./mlruns"
            )
    return Checked()


def _check_sqlite(uri: str, tasks: Iterable[str]) -> None:
    path = sqlite_path(uri)
    if path is None:
        raise UsageError(f"a tracking database must be a file, got {uri!r}; write sqlite:////absolute/path/mlflow.db")
    if path.is_dir():
        raise EnvironmentUnusable(f"a tracking database must be a file, but {path} is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") if path.exists() else contextlib.nullcontext() as file:
            start = file.read(len(_SQLITE_MAGIC)) if file else b""
    except OSError as error:
        raise EnvironmentUnusable(
            f"the tracking database {path} must be readable: {error.strerror}; choose another --tracking-uri"
        ) from error
    if start and start != _SQLITE_MAGIC:
        raise EnvironmentUnusable(f"{path} must be a SQLite database and is not; choose another --tracking-uri")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise EnvironmentUnusable(f"the tracking database {path} must be writable; choose another --tracking-uri")
    for task in tasks if start else ():
        _require_active(task, _experiment_in(path, experiment_name(task)))


def _experiment_in(path: Path, name: str) -> tuple[str, str]:
    """Identity and state of an experiment; empty where there is none, or nobody can say just now."""
    query = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as database:
            found = database.execute(query, (name,)).fetchone()
    except sqlite3.Error:
        return "", ""
    return (str(found[0]), str(found[1])) if found else ("", "")


def _require_active(task: str, found: tuple[str, str]) -> None:
    experiment_id, state = found
    if state == "deleted":
        raise EnvironmentUnusable(
            f"the experiment {experiment_name(task)!r} must not be deleted, as MLflow keeps its name; `mlflow"
            f" experiments restore --experiment-id {experiment_id}` brings it back, `mlflow gc` frees the name"
        )


def _check_server(uri: str, tasks: Iterable[str]) -> Checked:
    base, credentials = web_base(uri), rest.credentials(uri)
    try:
        body = _get(f"{base}/api/2.0/mlflow/experiments/search?max_results=1", credentials)
    except urllib.error.HTTPError as error:
        _explain(uri, error.code, error.read(2000).decode("utf-8", "replace"))
        return Checked()
    except (OSError, ValueError) as error:  # refused, timed out, unknown host, bad certificate, not HTTP
        return Checked(silent=one_line(redact(str(error))))
    try:
        json.loads(body)
    except ValueError:
        raise EnvironmentUnusable(
            f"{base} must be an MLflow server, but what answers there is something else"
            " (a login page?); check --tracking-uri"
        ) from None
    for task in tasks:
        name = quote(experiment_name(task), safe="")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # a 404 is one that is not there yet
            address = f"{base}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}"
            found: dict[str, Any] = json.loads(_get(address, credentials))["experiment"]
            _require_active(task, (str(found["experiment_id"]), str(found["lifecycle_stage"])))
    return Checked(warnings=tuple(_warnings(uri, base, credentials)))


def _warnings(uri: str, base: str, credentials: dict[str, str]) -> Iterator[str]:
    parts = urlsplit(uri)
    if parts.password:
        yield (
            "the tracking URI holds a password, which is not kept with the sweep; set MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD instead"
        )
    if _is_loopback(parts.hostname or ""):
        return
    if credentials and parts.scheme == "http":
        yield f"password or token go to {base} for everybody on the way to read; use https, or an SSH tunnel"
    with contextlib.suppress(OSError, ValueError):
        _get(f"{base}/api/2.0/mlflow/experiments/search?max_results=1", {})
        yield (
            f"the MLflow server {base} lets in whoever reaches it, to read, change and delete every run; start it with"
            " --app-name basic-auth (it needs mlflow[auth]), or with --host 127.0.0.1 behind an SSH tunnel"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _get(address: str, headers: dict[str, str]) -> bytes:
    return rest.get(address, headers, timeout_s=_TIMEOUT_S)


def _explain(uri: str, status: int, body: str) -> None:
    base = web_base(uri)
    host = urlsplit(base).netloc
    if status == 403 and "host" in body.lower():
        raise EnvironmentUnusable(
            f"the MLflow server must accept the host name {host!r} and answers 403 Invalid Host header;"
            f" start it with --allowed-hosts '{host}', or reach it through an SSH tunnel on 127.0.0.1"
        )
    if status in (401, 403):
        if any(os.environ.get(name) for name in _OTHER_AUTH):
            return  # a plug-in signs MLflow's own requests, not this one
        raise EnvironmentUnusable(
            f"the MLflow server {base} must let us in and answers {status}; set MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to an account that may create experiments"
        )
    if status in (404, 405):
        raise EnvironmentUnusable(
            f"{base} must be an MLflow server, but what answers there knows none of its addresses ({status});"
            " check --tracking-uri"
        )
