"""The settings of a run as options of a command line, and back: what `arguments` writes, `add_settings` reads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from trainables.config import FinetuneConfig, TaskSpec
from trainables.evaluation import Evaluation
from trainables.execution import Execution

__all__ = ["Settings", "add_settings", "arguments", "settings"]

Settings = FinetuneConfig | TaskSpec | Execution | Evaluation
S = TypeVar("S", FinetuneConfig, TaskSpec, Execution, Evaluation)

_KINDS: Final[dict[str, type[Settings]]] = {
    "configuration": FinetuneConfig,
    "task": TaskSpec,
    "execution": Execution,
    "evaluation (with --evaluate)": Evaluation,
}
_DEFAULTS: Final = {"name": "task"}
"""Of fields that a sweep file must give and that nobody needs to give here."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One option per field of the four kinds of settings, with its type and default."""
    for title, cls in _KINDS.items():
        group = parser.add_argument_group(title)
        types = get_type_hints(cls)
        for field in fields(cls):
            default = _default(field)
            required = default is MISSING
            group.add_argument(
                _option(field.name),
                required=required,
                default=None if required else list(default) if default == () else default,
                help=None if required else f"default {default!r}".replace("%", "%%"),
                **_value(types[field.name]),
            )


def settings(options: argparse.Namespace, cls: type[S]) -> S:
    """What parsed options say of one kind.

    Raises:
        InvalidConfig: a value is outside its range; all broken rules are listed at once.
    """
    return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})


def arguments(*given: Settings) -> list[str]:
    """The options that stand for settings: those of required fields, and those that differ from their defaults.

    Numbers are written so that they are read as the same numbers.
    """
    words: list[str] = []
    for one in given:
        for field in fields(one):
            value = getattr(one, field.name)
            if value != _default(field):
                words += _words(_option(field.name), value)
    return words


def _words(option: str, value: Any) -> Sequence[str]:
    match value:
        case bool():
            return [option if value else option.replace("--", "--no-", 1)]
        case tuple():
            parts = [str(part) for part in value]
            # A name that starts like an option is one, unless it is tied to its own.
            tied = any(part.startswith("-") for part in parts)
            return [f"{option}={part}" for part in parts] if tied else [option, *parts]
        case _:
            text = repr(value) if isinstance(value, float) else str(value)
            return [f"{option}={text}"] if text.startswith("-") else [option, text]


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _default(field: Field[Any]) -> Any:
    return _DEFAULTS.get(field.name, field.default)


def _value(hint: Any) -> dict[str, Any]:
    """How argparse reads a value of a field's type."""
    if get_origin(hint) is UnionType or NoneType in get_args(hint):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        if Ellipsis in rest:
            return {"type": first, "nargs": "+", "action": "extend"}
        return {"type": first, "nargs": 1 + len(rest)}
    return {"type": hint}
