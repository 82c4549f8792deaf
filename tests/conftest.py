"""What tests of every layer need."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shell import Shell


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `-n 2`: what starts Ray or a server goes first and one at a time, beside the rest, file by file.

    Two Ray sessions on two cores would wait for each other until something's patience ends.
    """
    for item in items:
        alone = item.get_closest_marker("slow") and item.path.parent.name not in ("trainables", "activations")
        item.add_marker(pytest.mark.xdist_group("processes" if alone else item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args != ("processes",))  # type: ignore[union-attr]


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
