"""What a search space that cannot be sampled is refused with: every broken rule at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trainables.errors import InvalidConfig

__all__ = ["ABSENT", "BrokenRule", "InvalidSpace"]


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""The value of a rule that no value breaks, such as a missing key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenRule:
    """One rule and the value that breaks it, before anyone knows which file it came from."""

    keys: tuple[str | int, ...]
    """Where the value is, from the mapping that was checked."""

    rule: str
    """Reads on after the key: ``must be > 0 on a log scale``."""

    value: object = ABSENT
    hint: str = ""

    def __str__(self) -> str:
        got = "" if self.value is ABSENT else f", got {self.value!r}"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{'.'.join(map(str, self.keys))} {self.rule}{got}{hint}".lstrip()


class InvalidSpace(InvalidConfig):
    """A search space breaks rules; `broken` has all of them."""

    def __init__(self, broken: Iterable[BrokenRule]) -> None:
        self.broken = tuple(broken)
        super().__init__(self.broken)

    def __str__(self) -> str:
        return "; ".join(map(str, self.broken))
