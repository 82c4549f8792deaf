"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from orchestrator.errors import one_line, redact

__all__ = ["Finding", "Status", "broken", "ok", "skipped", "warning"]

Status: TypeAlias = Literal["ok", "warning", "broken", "skipped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the doctor's report. Every text is redacted and on one line."""

    name: str
    """Of what was looked at, in a word or two."""

    status: Status
    """``broken`` is what a sweep needs and cannot have; ``warning`` is what it runs without, or slower;
    ``skipped`` is what does not apply here."""

    detail: str
    """What was seen."""

    fix: str = ""
    """What to do about it; empty where there is nothing to do."""

    def __post_init__(self) -> None:
        for name in ("name", "detail", "fix"):
            object.__setattr__(self, name, one_line(redact(getattr(self, name))))


def ok(name: str, detail: str) -> Finding:
    """It works."""
    return Finding(name=name, status="ok", detail=detail)


def skipped(name: str, detail: str, fix: str = "") -> Finding:
    """It does not apply, or was not asked for."""
    return Finding(name=name, status="skipped", detail=detail, fix=fix)


def warning(name: str, detail: str, fix: str) -> Finding:
    """A sweep runs all the same."""
    return Finding(name=name, status="warning", detail=detail, fix=fix)


def broken(name: str, detail: str, fix: str) -> Finding:
    """No sweep runs before this is mended."""
    return Finding(name=name, status="broken", detail=detail, fix=fix)
