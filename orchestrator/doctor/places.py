"""Where a sweep writes: its storage, MLflow and the cache. Nothing stays behind."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from orchestrator.doctor.finding import Finding, broken, ok, warning
from orchestrator.doctor.subject import Subject
from orchestrator.errors import EnvironmentUnusable, UsageError, redact

__all__ = ["cache", "storage", "tracking", "unmade"]

_CONNECT_S: Final = 3.0
_GIB: Final = 2**30
_DRIVERS: Final = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Distributions whose name is not their module's."""

_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_MOST_WAIT_S: Final = 6.0
_making = threading.Lock()


def storage(subject: Subject) -> Iterator[Finding]:
    """Write as a sweep does: a file that is flushed, renamed, locked, read back and removed."""
    from orchestrator.stores import storage_folder

    fix = "choose another folder with --storage"
    try:
        folder = storage_folder(subject.config)
        seen = _write(folder)
    except UsageError as error:
        yield broken("storage", str(error), fix)
    except OSError as error:
        yield broken("storage", f"{folder} must be a folder that can be written: {error.strerror or error}", fix)
    else:
        yield ok("storage", f"{folder}: {seen}")


def _write(folder: Path) -> str:
    """Raises OSError where any step of it fails."""
    nonce = secrets.token_hex(8)
    with unmade(folder):
        folder.mkdir(parents=True, exist_ok=True)
        first, second = folder / f".doctor-{nonce}.tmp", folder / f".doctor-{nonce}"
        try:
            with first.open("w", encoding="ascii") as file:
                file.write(nonce)
                file.flush()
                os.fsync(file.fileno())
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.replace(first, second)
            if second.read_text(encoding="ascii") != nonce:
                raise OSError("what was written cannot be read back")
        finally:
            for file_ in (first, second):
                with suppress(OSError):
                    file_.unlink(missing_ok=True)
    return "can be written and locked"


@contextmanager
def unmade(folder: Path) -> Iterator[None]:
    """Afterwards `folder` and its parents that were not there before are gone again, as far as they are empty.

    One at a time, or a check would take away what another one has just made; but none waits for one that hangs.
    """
    held = _making.acquire(timeout=_MOST_WAIT_S)
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            yield
        finally:
            for path in missing:
                with suppress(OSError):
                    path.rmdir()
    finally:
        if held:
            _making.release()


def tracking(subject: Subject) -> Iterator[Finding]:
    """What a sweep checks of MLflow before it starts, and whether a server or a database answers at all."""
    from orchestrator.stores import tracking_uri
    from orchestrator.tracking import Checked, check
    from orchestrator.tracking.location import kind, sqlite_path

    fix = "choose another with --tracking-uri, e.g. sqlite:////absolute/path/mlflow.db"
    try:
        uri = tracking_uri(subject.config)
    except UsageError as error:
        yield broken("tracking", str(error), fix)
        return
    shown, file = redact(uri), sqlite_path(uri) if kind(uri) == "sqlite" else None
    if kind(uri) == "database" and (without := _without_driver(uri)):
        yield without
        return
    try:
        with nullcontext() if file is None else unmade(file.parent):
            checked = Checked(silent=_silent(uri)) if kind(uri) == "database" else check(uri)
    except (EnvironmentUnusable, UsageError) as error:
        yield broken("tracking", str(error), fix)
        return
    if silent := checked.silent:
        yield warning(
            "tracking",
            f"{shown} does not answer: {silent}; a sweep runs without it, and `report` writes what it missed",
            "start the server, or check --tracking-uri",
        )
        return
    for unsafe in checked.warnings:
        detail, _, way_out = unsafe.partition("; ")
        yield warning("tracking", detail, way_out)
    told = {"sqlite": "can be written", "server": "answers and lets us in", "database": "is reached"}
    yield ok("tracking", f"{shown}: {told.get(kind(uri), 'is known')}")


def _silent(uri: str) -> str | None:
    """Why nobody answers where a database is said to be; None where somebody does."""
    try:
        parts = urlsplit(uri)
        port = parts.port or _PORTS[parts.scheme.partition("+")[0]]
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _without_driver(uri: str) -> Finding | None:
    """What is broken where the package that talks to this kind of database is missing; None where it is there."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        package = _DRIVERS.get(error.name or "", error.name)
        return broken("tracking", f"{redact(uri)} needs a driver: {error}", f"pip install {package}")
    except (ImportError, NoSuchModuleError, ArgumentError) as error:
        return broken("tracking", f"{redact(uri)}: {error}", "e.g. postgresql+psycopg2://user@host/database")
    return None


def cache(subject: Subject) -> Iterator[Finding]:
    """Whether decoded samples and activations can be kept, and how much room they have."""
    from trainables.data.cache import LIMIT_VARIABLE, cache_dir, cache_limit
    from trainables.errors import InvalidConfig

    folder = cache_dir().expanduser()
    try:
        _write(folder)
        held = sum(file.stat().st_size for file in folder.glob("*/*.arrow")) / _GIB
        limit = cache_limit() / _GIB
    except InvalidConfig as error:
        yield broken("cache", str(error), f"export {LIMIT_VARIABLE}=50, or leave it out")
    except OSError as error:
        text = f"{folder} must be a folder that can be written: {error.strerror or error}"
        yield broken("cache", text, "export ORCHESTRATOR_CACHE=/a/folder/with/room")
    else:
        yield ok("cache", f"{folder}: {held:.2g} of at most {limit:.3g} GiB")
