"""Whether a sweep can be tracked where its user asked for, checked before anything is spent.

Only what a user must fix is an error. A server that does not answer is none: it may come back, and what it
missed is written later.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import unquote, urlsplit

from orchestrator.errors import EnvironmentUnusable, one_line, redact
from orchestrator.tracking.location import kind, sqlite_path, web_base

__all__ = ["check"]

_TIMEOUT_S: Final = 5.0
_SQLITE_MAGIC: Final = b"SQLite format 3\x00"
_OTHER_AUTH: Final = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH")


def check(tracking_uri: str) -> str | None:
    """Refuse a tracking URI that cannot work until its user does something about it.

    Returns:
        Why a server does not answer just now, which is no error; None where all is well.

    Raises:
        EnvironmentUnusable: the scheme is not one MLflow takes, the database cannot be written, or the
            server refuses us; the message names the fix.
    """
    match kind(tracking_uri):
        case "server":
            return _check_server(tracking_uri)
        case "sqlite":
            _check_sqlite(tracking_uri)
        case "unknown":
            raise EnvironmentUnusable(
                f"a tracking URI must be http(s)://, sqlite:/// or another database, got"
                f" {redact(tracking_uri)!r}; MLflow no longer writes to plain folders: use"
                " sqlite:///mlflow.db, and `mlflow migrate-filestore` for an old ./mlruns"
            )
    return None


def _check_sqlite(uri: str) -> None:
    path = sqlite_path(uri)
    if path is None:
        raise EnvironmentUnusable(
            f"a tracking database must be a file, got {uri!r}; write sqlite:////absolute/path/mlflow.db"
        )
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


def _check_server(uri: str) -> str | None:
    address = f"{web_base(uri)}/api/2.0/mlflow/experiments/search?max_results=1"
    request = urllib.request.Request(address, headers=_credentials(uri))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            body = answer.read(1_000_000)
    except urllib.error.HTTPError as error:
        _explain(uri, error.code, error.read(2000).decode("utf-8", "replace"))
        return None
    except (OSError, ValueError) as error:  # refused, timed out, unknown host, bad certificate, not HTTP
        return one_line(redact(str(error)))
    try:
        json.loads(body)
    except ValueError:
        raise EnvironmentUnusable(
            f"{web_base(uri)} must be an MLflow server, but what answers there is something else"
            " (a login page?); check --tracking-uri"
        ) from None
    return None


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


def _credentials(uri: str) -> dict[str, str]:
    parts = urlsplit(uri)
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {"Authorization": f"Bearer {token}"} if token else {}
