"""What tests of every layer need."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shell import Shell
from threadpoolctl import threadpool_limits

LONG = "ORCHESTRATOR_TEST_LONG"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start Ray or a server first: with `-n 2` nobody is left alone with a long one at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow") and "trainables" not in item.path.parts}
    items.sort(key=lambda item: item.path not in long)
    if not os.environ.get(LONG):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason=f"{LONG} is not set"))


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread() -> Iterator[None]:
    """Over small matrices BLAS threads wait for each other: a ranking takes ten times its CPU time with two."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded samples; shared, as a user's sweeps share theirs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def new_shell(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Callable[[str], Shell]]:
    with contextlib.ExitStack() as stack:

        def new_shell(name: str) -> Shell:
            # Ray puts sockets there, whose paths may hold 107 characters: not below pytest's folders.
            ray_folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
            stack.callback(shutil.rmtree, ray_folder, ignore_errors=True)
            return Shell(tmp_path_factory.mktemp(name), ray_folder, shared_cache)

        yield new_shell
