"""Where a sweep may keep its results, and which MLflow it may write to: checked by form alone."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from orchestrator.config.rules import AUTO
from trainables.errors import did_you_mean

__all__ = ["Broken", "broken_path", "broken_storage", "broken_tracking_uri"]


_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS: Final = ("http", "https")
_OBJECT_STORES: Final = ("s3", "gs", "abfs")
_SQLITE_HINT: Final = "write auto, or sqlite:///path/mlflow.db; `mlflow migrate-filestore` moves old runs there"

Broken = tuple[str, str]
"""A rule and a hint."""


def broken_path(text: str) -> Broken | None:
    """The rule a local path breaks: empty, or with characters that do not print."""
    if not text or text != text.strip() or not text.isprintable():
        return "must be a path of printable characters, without spaces around it", ""
    return None


def broken_storage(text: str) -> Broken | None:
    """The rule a storage place breaks: it is a path, or a URI with bucket of s3, gs or abfs."""
    rule = f"must be a folder, or start with {_listed(f'{name}://' for name in _OBJECT_STORES)}"
    scheme = _scheme(text)
    if scheme is None or broken_path(text):
        return broken_path(text)
    if scheme == "file":
        return rule, "write the path alone, without file:"
    if scheme not in _OBJECT_STORES:
        return rule, did_you_mean(scheme, _OBJECT_STORES).removeprefix("; ")
    if not text.startswith(f"{scheme}://") or not text.removeprefix(f"{scheme}://").strip("/"):
        return rule, f"a bucket must follow: {scheme}://bucket/folder"
    return None


def broken_tracking_uri(text: str) -> Broken | None:
    """The rule an MLflow tracking URI breaks: it is auto, a server, or a database.

    MLflow 3 refuses to write to folders (``./mlruns``, ``file:...``), with a message that blames
    maintenance mode, and only once the sweep has begun; so that is said here, with the way out.
    """
    rule = "must be auto, or start with " + _listed([f"{s}://" for s in (*_SERVERS, *_DATABASES)])
    if text in (AUTO, "databricks"):
        return None
    if broken_path(text):
        return rule, ""
    scheme = _scheme(text)
    if scheme in (None, "file"):
        return f"{rule}; MLflow 3 writes to no folder", _SQLITE_HINT
    database, _, driver = scheme.partition("+") if scheme else ("", "", "")
    if database == "sqlite":
        path = text.removeprefix(f"{scheme}:///").strip("/")
        if not text.startswith(f"{scheme}:///") or not path or path == ":memory:":
            return "must name a file after three slashes", "e.g. sqlite:///mlflow.db"
        return None
    if database in (*_DATABASES, "databricks") or (database in _SERVERS and not driver):
        return None if _host(text) else (f"must name a host after {scheme}://", "")
    return rule, did_you_mean(database, (*_SERVERS, *_DATABASES)).removeprefix("; ")


def _scheme(text: str) -> str | None:
    match = _SCHEME.match(text)
    return match[1].lower() if match else None


def _host(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets or a port that are none
        return False


def _listed(items: object) -> str:
    *first, last = list(items)  # type: ignore[call-overload]
    return f"{', '.join(first)} or {last}"
