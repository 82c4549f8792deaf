"""An MLflow server for one user on one machine: started, waited for and ended with all its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.errors import EnvironmentUnusable, redact
from orchestrator.tracking import rest

__all__ = ["LOOPBACK", "Command", "Served", "free_port", "is_free", "server_command", "serving"]

LOOPBACK: Final = "127.0.0.1"
_START_S: Final = 240.0
"""For the first answer: 10 s on a quiet machine, minutes on one that a sweep keeps busy."""

_END_S: Final = 10.0
_KILLED_S: Final = 2.0
_MAX_PORTS: Final = 100
_SETTINGS: Final = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # with it ten processes and 2.4 GB, without two and 0.5 GB
    "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "true",  # or its assistant runs what it likes as this user, for whoever asks
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
_NOT_SETTINGS: Final = (
    *("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "MLFLOW_STATIC_PREFIX", "MLFLOW_ARTIFACTS_ONLY"),
    *("MLFLOW_UVICORN_OPTS", "MLFLOW_GUNICORN_OPTS", "MLFLOW_SERVE_ARTIFACTS"),
)
"""Of somebody else's server: with them it would stand open, or our links would lead nowhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """How a program is started."""

    arguments: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables beside the ones that are there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A server that answers."""

    base: str
    """``http://127.0.0.1:5000``"""

    process: subprocess.Popen[bytes]


def server_command(uri: str, port: int, *, hosts: Sequence[str] | None = None) -> Command:
    """An MLflow server that this machine alone can reach, that no other page in a browser can use, and that runs
    nothing.

    Args:
        uri: of the database. It goes into the environment, as it may hold a password that everybody could read
            in the list of processes.
        hosts: names by which it may be called, e.g. ``127.0.0.1:*``; None is this port of 127.0.0.1 and localhost.
    """
    names = hosts or (f"{LOOPBACK}:{port}", f"localhost:{port}")
    arguments = (
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", ",".join(names)),
        *("--cors-allowed-origins", ",".join(f"http://{name}" for name in names)),
    )
    return Command(arguments=arguments, settings={**_SETTINGS, "MLFLOW_BACKEND_STORE_URI": uri})


@contextlib.contextmanager
def serving(command: Command, port: int, *, health: str = "/health", name: str = "MLflow") -> Iterator[Served]:
    """Start a server on a port of this machine, wait until it answers, and end it with all its processes.

    Args:
        health: path that answers as soon as the server can be used.
        name: what the server is called in messages.

    Raises:
        EnvironmentUnusable: it ended before it answered, or did not answer in time; with its last words.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command.arguments,
            env={**{k: v for k, v in os.environ.items() if k not in _NOT_SETTINGS}, **command.settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # or Ctrl-C would reach it before us
        )
        base = f"http://{LOOPBACK}:{port}"
        try:
            if (why := _not_answering(process, f"{base}{health}")) is not None:
                raise EnvironmentUnusable(f"{name} must start on port {port}, but {why}: {_last_words(log.fileno())}")
            yield Served(base=base, process=process)
        finally:
            _end(process)


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as listener:
        # As servers do: a port whose last connections are only just closed is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(first: int) -> int:
    """The first free port from `first` on.

    Raises:
        EnvironmentUnusable: the next hundred are taken.
    """
    for port in range(first, min(first + _MAX_PORTS, 65536)):
        if is_free(port):
            return port
    raise EnvironmentUnusable(f"no port from {first} to {first + _MAX_PORTS - 1} is free; choose one with --port")


def _not_answering(process: subprocess.Popen[bytes], address: str) -> str | None:
    """Wait for the first answer. Returns why there is none."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            return f"it ended with exit code {process.returncode}"
        with contextlib.suppress(OSError):
            try:
                rest.get(address, {}, timeout_s=5)
            except urllib.error.HTTPError as error:
                error.close()  # it speaks
            return None
        time.sleep(0.1)
    return f"it did not answer within {_START_S:g} s"


def _last_words(log: int) -> str:
    size = os.fstat(log).st_size
    text = redact(os.pread(log, 4000, max(0, size - 4000)).decode("utf-8", "replace"))
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(["", *lines[-15:]]) if lines else "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask all of its processes to end, then make them. A second Ctrl-C does not wait."""
    try:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a child may outlive its parent
        process.wait()
        _wait_for_children(process.pid)


def _wait_for_children(group: int) -> None:
    """Until no process of a killed group is left to hold its port; not for ever, as nobody may collect the dead."""
    until = time.monotonic() + _KILLED_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.02)
