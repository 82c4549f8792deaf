"""Every error this package raises, as a tree. Each carries the exit code of the command it ends.

    OrchestratorError        1  anything else that ends a command
    ├── ConfigError          2  a sweep file, or a ``--set``, breaks rules; it lists all of them
    ├── UsageError           2  a command line that cannot be meant
    └── EnvironmentUnusable  4  the machine, the cluster or a service lacks what the sweep needs

A message states the rule, the offending value and the fix, in this order, and never a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import ClassVar, Final

from orchestrator.redaction import redact

__all__ = [
    "MAX_TOLD",
    "ConfigError",
    "EnvironmentUnusable",
    "OrchestratorError",
    "Problem",
    "UsageError",
    "one_line",
    "redact",
    "shown",
]

MAX_SHOWN: Final = 60
MAX_TEXT: Final = 400
MAX_TOLD: Final = 100
"""Problems that are shown of one file; the others are counted."""


def shown(value: object) -> str:
    """`value` as Python shows it, redacted and then cut: a cut secret could no longer be recognised."""
    try:
        text = redact(repr(value))
    except (ValueError, RecursionError):  # more digits, or deeper, than Python prints
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def one_line(text: str) -> str:
    """Escape line breaks and every other character that does not print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One rule that one value breaks. Every text is redacted, on one line and of bounded length."""

    where: str
    """``quickstart.yaml:12``, or ``--set budget.trials``."""

    key: str
    """Dotted path of the value, e.g. ``tasks.0.num_train``; empty for the file as a whole."""

    rule: str
    """Reads on after the key: ``must be a whole number >= 1``, ``unknown key``."""

    value: str = ""
    """The offending value as Python shows it; empty where there is none."""

    hint: str = ""
    """What to write instead; may be empty."""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            text = one_line(redact(getattr(self, name)))
            text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
            object.__setattr__(self, name, text)

    @property
    def message(self) -> str:
        """Rule, value and hint as one sentence."""
        got = f", got {self.value}" if self.value else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.rule}{got}{hint}"


class OrchestratorError(Exception):
    """Base class of every error raised by `orchestrator`."""

    exit_code: ClassVar[int] = 1


class ConfigError(OrchestratorError, ValueError):
    """A sweep configuration breaks rules. `str` has one line per problem, in columns, for the first 100 of them."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        told = self.problems[:MAX_TOLD]
        where = max((len(p.where) for p in told), default=0)
        key = max((len(p.key) for p in told), default=0)
        columns = ((f"{p.where:<{where}}", f"{p.key:<{key}}" if key else "") for p in told)
        lines = [
            "  ".join(filter(None, (*column, problem.message))) for column, problem in zip(columns, told, strict=True)
        ]
        more = len(self.problems) - len(told)
        return "\n".join([*lines, f"and {more} more"] if more else lines)


class UsageError(OrchestratorError, ValueError):
    """A command line that cannot be meant."""

    exit_code: ClassVar[int] = 2


class EnvironmentUnusable(OrchestratorError, RuntimeError):
    """The machine, the cluster or a service lacks what the sweep needs."""

    exit_code: ClassVar[int] = 4
