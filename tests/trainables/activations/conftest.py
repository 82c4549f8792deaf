"""Every test starts as a new process does: having opened, measured and refused nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trainables.activations import forget


@pytest.fixture(autouse=True)
def _nothing_opened() -> Iterator[None]:
    forget()
    yield
    forget()
