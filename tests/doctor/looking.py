"""Types of what runs checks in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from orchestrator.doctor import Finding, Subject

__all__ = ["Look", "Only"]

Look: TypeAlias = Callable[[Subject], Iterable[Finding]]
Only: TypeAlias = Callable[..., Finding]
