"""No test knows passwords that another one told."""

from __future__ import annotations

import pytest

from orchestrator import redaction


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_hidden", set())
