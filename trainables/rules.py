"""Rules that the fields of a configuration keep, told all at once."""

from __future__ import annotations

from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from trainables.errors import InvalidConfig

__all__ = ["Rule", "one_of_rules", "require"]

Rule: TypeAlias = tuple[str, str, bool]
"""A field, what it must be, whether it is."""


def one_of_rules(config: Any) -> list[Rule]:
    """That each field of a literal type has one of its values, or None where that is allowed."""
    rules = []
    for name, (options, optional) in _options(config.__class__).items():
        value = getattr(config, name)
        rule = f"one of {options}" + " or None" * optional
        rules.append((name, rule, value in options or (optional and value is None)))
    return rules


@cache
def _options(cls: type[Any]) -> dict[str, tuple[tuple[str, ...], bool]]:
    """The values of each literal field, and whether it may be None."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        literals = [part for part in parts if get_origin(part) is Literal]
        if literals:
            found[name] = tuple(map(str, get_args(literals[0]))), NoneType in parts
    return found


def require(config: object, rules: list[Rule]) -> None:
    """Raises InvalidConfig with every broken rule: a field, what it must be, whether it is."""
    broken = [f"{name} must be {rule}, got {getattr(config, name)!r}" for name, rule, ok in rules if not ok]
    if broken:
        raise InvalidConfig("; ".join(broken))
