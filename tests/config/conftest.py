"""What the catalogue knows, as a plan's tests need it."""

from __future__ import annotations

import pytest
from planning import FACTS


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.catalog._facts", lambda: FACTS)


@pytest.fixture
def no_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.catalog._facts", dict)
