"""Checks, run one by one in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from looking import Look, Only

from orchestrator.doctor import Finding, Subject


@pytest.fixture
def only() -> Only:
    """Runs a check on the shipped sweep's values, changed; it must find one thing."""

    def only(look: Look, *overrides: str, file: str | None = None, address: str | None = None) -> Finding:
        [finding] = look(Subject(file=file, overrides=overrides, address=address))
        return finding

    return only


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a module in front of the real one, in processes that are started from here on."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")

    return write
