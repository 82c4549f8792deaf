"""A real MLflow server for the whole test run, and fresh stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import Server

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            # mlflow and sqlalchemy leave sqlite connections to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"))


@pytest.fixture(scope="session")
def _session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow-server"))
    yield made
    made.kill()


@pytest.fixture
def server(_session_server: Server) -> Server:
    """A real server, shared by all tests; one may kill it."""
    _session_server.start()
    return _session_server


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
