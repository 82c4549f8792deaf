"""What a tracking URI points at, read without mlflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Kind", "artifact_root", "kind", "sqlite_path", "web_base"]

Kind = Literal["server", "sqlite", "database", "databricks", "unknown"]

_SQLITE: Final = re.compile(r"sqlite(\+\w+)?://")
_DATABASE: Final = re.compile(r"(postgresql|mysql|mssql)(\+\w+)?://")


def kind(uri: str) -> Kind:
    """Which of the places that MLflow can write to."""
    if re.match(r"https?://", uri):
        return "server"
    if _SQLITE.match(uri):
        return "sqlite"
    if _DATABASE.match(uri):
        return "database"
    return "databricks" if re.match(r"databricks(-uc)?(:|$)", uri) else "unknown"


def sqlite_path(uri: str) -> Path | None:
    """The file of ``sqlite:///relative`` or ``sqlite:////absolute``; None for a database in memory."""
    name = uri.partition("://")[2].partition("?")[0]
    path = name.removeprefix("/")
    return Path(path).absolute() if path and path != ":memory:" else None


def artifact_root(uri: str) -> str | None:
    """Where files go without a server to take them: a folder beside the database, as an absolute URI.

    None leaves it to the server.
    """
    if kind(uri) == "sqlite":
        path = sqlite_path(uri)
        return (path.parent if path else Path.cwd()).joinpath("mlartifacts").as_uri()
    return Path("mlartifacts").absolute().as_uri() if kind(uri) == "database" else None


def web_base(uri: str) -> str:
    """Address of a server's pages, without user and password."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
