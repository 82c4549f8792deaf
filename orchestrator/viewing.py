"""A sweep's comparison in MLflow, opened: a server where there is none yet, and the pages it shows."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.errors import EnvironmentUnusable, UsageError, redact
from orchestrator.folder import SweepFolder
from orchestrator.overview import command_on
from orchestrator.tracking import check, rest
from orchestrator.tracking.location import kind, sqlite_path, web_base
from orchestrator.tracking.pages import TaskPages, is_mlflow, pages_of, same_store
from orchestrator.tracking.server import LOOPBACK, Served, free_port, is_free, server_command, serving

__all__ = ["PORT", "Comparison", "comparing", "ended_by_signals", "serve_until_ended"]

PORT: Final = 5000
_LOOK_S: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Where a sweep can be compared."""

    base: str
    pages: Sequence[TaskPages]
    served: Served | None
    """The server that was started for it; None of one that was there."""


@contextlib.contextmanager
def comparing(
    folder: SweepFolder, uri: str, tasks: Sequence[str], port: int | None, say: Callable[[str], None]
) -> Iterator[Comparison]:
    """Find the sweep on the server that has it, or serve its database as long as this lasts.

    Args:
        uri: of MLflow.
        port: None is `PORT`, or the next free one.
        say: told what takes time and what is not as one might expect.

    Raises:
        UsageError: MLflow's pages are nothing that can be served here.
        EnvironmentUnusable: there is nothing to show yet, the port is taken, or the server does not answer.
    """
    match kind(uri):
        case "server":
            if (silent := check(uri).silent) is not None:
                raise EnvironmentUnusable(
                    f"the MLflow server {redact(uri)} must answer, but: {silent}; start it, or give another one with"
                    " --tracking-uri"
                )
            yield _found(folder, uri, web_base(uri), rest.credentials(uri), tasks)
            return
        case "databricks":
            raise UsageError(
                f"the comparison of {folder.sweep_id} is in your Databricks workspace, not on this machine"
            )
        case "unknown" | "database":
            check(uri)
        case "sqlite":
            path = sqlite_path(uri)
            if path is None or not path.exists() or not path.stat().st_size:
                raise _nothing(folder, uri)
    if (base := _shown_already(folder, uri, tasks, port, say)) is not None:
        yield _found(folder, uri, base, {}, tasks)
        return
    chosen = _choose(port, say)
    say(f"starting MLflow on port {chosen}, which takes about ten seconds")
    with serving(server_command(uri, chosen), chosen) as served:
        yield _found(folder, uri, served.base, {}, tasks, served)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Leave the block on Ctrl-C, SIGTERM and a closed terminal alike, without an error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, number)]
    before = {number: signal.signal(getattr(signal, number), _interrupt) for number in numbers}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(getattr(signal, number), handler)


def serve_until_ended(servers: Sequence[Served]) -> None:
    """Return when a server has ended, which none does of itself; a signal ends it by `KeyboardInterrupt`.

    Raises:
        EnvironmentUnusable: a server ended.
    """
    while servers:
        for served in servers:
            if (code := served.process.poll()) is not None:
                raise EnvironmentUnusable(f"the server on {served.base} must go on, but it ended with exit code {code}")
        time.sleep(_LOOK_S)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _found(
    folder: SweepFolder,
    uri: str,
    base: str,
    headers: dict[str, str],
    tasks: Sequence[str],
    served: Served | None = None,
) -> Comparison:
    pages = pages_of(base, headers, folder.sweep_id, tasks)
    if not pages:
        raise _nothing(folder, uri)
    return Comparison(base=base, pages=pages, served=served)


def _nothing(folder: SweepFolder, uri: str) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        f"MLflow at {redact(uri)} must have {folder.sweep_id}, and has nothing of it; write it there first:"
        f" {command_on(folder, 'report')}"
    )


def _shown_already(
    folder: SweepFolder, uri: str, tasks: Sequence[str], port: int | None, say: Callable[[str], None]
) -> str | None:
    """Address of a server on the wanted port that shows the same database."""
    wanted = port or PORT
    base = f"http://{LOOPBACK}:{wanted}"
    if is_free(wanted) or not tasks or not same_store(base, uri, folder.sweep_id, tasks[0]):
        return None
    say(f"an MLflow server on port {wanted} shows this database already")
    return base


def _choose(port: int | None, say: Callable[[str], None]) -> int:
    if is_free(port or PORT):
        return port or PORT
    holder = "another MLflow server" if is_mlflow(f"http://{LOOPBACK}:{port or PORT}") else "another program"
    if port is not None:
        raise EnvironmentUnusable(
            f"port {port} must be free, and {holder} has it; leave --port out, which takes the next free one, or"
            " give another"
        )
    chosen = free_port(PORT + 1)
    say(f"port {PORT} is taken by {holder}: using {chosen}")
    return chosen
