"""A real MLflow server for the whole session, and stores to read back what was written."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_START_S = 90.0
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            # mlflow and sqlalchemy leave sqlite connections to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


class Server:
    """`mlflow server` on a free port of 127.0.0.1, in a process group of its own."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = (folder / "server.log").open("ab")
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        env = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self._process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def wait(self) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return
            time.sleep(0.2)
        raise RuntimeError(f"the MLflow server did not start; see {self._log.name}")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)
        self._log.close()


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Stays up; a test that kills a server starts its own with `start_server`."""
    made = Server(tmp_path_factory.mktemp("mlflow-server"))
    try:
        made.wait()
        yield made
    finally:
        made.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts servers that are killed with the test."""
    made: list[Server] = []

    def start() -> Server:
        made.append(Server(tmp_path / f"server-{len(made)}"))
        return made[-1]

    yield start
    for one in made:
        one.kill()


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store: its migration takes seconds, so it is done once and copied."""
    from orchestrator.tracking.store import Store

    path = tmp_path_factory.mktemp("mlflow-template") / "mlflow.db"
    Store(f"sqlite:///{path}").connect()
    return path


@pytest.fixture
def store_uri(_migrated: Path, tmp_path: Path) -> str:
    """A fresh SQLite store."""
    path = tmp_path / "store" / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(_migrated.read_bytes())
    return f"sqlite:///{path}"
