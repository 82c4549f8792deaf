"""Victims for the tests of this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.victim import Victim


@pytest.fixture(scope="module")
def chaos_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded samples; shared, as a user's sweeps share theirs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def new_victim(tmp_path: Path, chaos_cache: Path) -> Iterator[Callable[..., Victim]]:
    """Makes one from what `Victim` takes beside its folder; nothing of it is left after the test."""
    with contextlib.ExitStack() as stack:

        def make(config: dict[str, Any], **options: Any) -> Victim:
            options["environment"] = {"ORCHESTRATOR_CACHE": str(chaos_cache), **options.get("environment", {})}
            return stack.enter_context(Victim(tmp_path, config, **options))

        yield make
