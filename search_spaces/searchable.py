"""Which fields of `FinetuneConfig` may be searched, and which values each takes."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from search_spaces.scalars import misfit
from trainables.config import FinetuneConfig
from trainables.errors import InvalidConfig

__all__ = ["FREEZE_DEPTH", "MANAGED", "SEARCHABLE", "TUNE_WINDOW", "Value", "Window", "broken_rule", "options"]

Window: TypeAlias = tuple[int, int]
"""Of blocks: from the first, inclusive, to the last, exclusive."""

Value = int | float | str | Window

FREEZE_DEPTH: Final = "freeze_depth"
TUNE_WINDOW: Final = "tune_window"

MANAGED: Final = ("backbone", "max_epochs", "seed")
"""Set by the sweep's plan, never sampled: the backbone is what is ranked, the epochs are the
scheduler's, and a seed is noise to average over."""


def _kind(hint: Any) -> type:
    if isinstance(hint, type):
        return hint
    return str if get_origin(hint) is Literal else tuple


def _kinds() -> dict[str, type]:
    hints = get_type_hints(FinetuneConfig)
    names = (field.name for field in dataclasses.fields(FinetuneConfig) if field.name not in MANAGED)
    return {name: _kind(hints[name]) for name in names}


SEARCHABLE: Final = MappingProxyType(_kinds())
"""Field name -> int, float, str (one of `options`) or tuple (a `Window`)."""


def options(name: str) -> tuple[str, ...]:
    """The texts that field `name` takes, ``("adamw", "sgd")``; empty where it takes no text."""
    if SEARCHABLE[name] is not str:
        return ()
    return tuple(map(str, get_args(get_type_hints(FinetuneConfig)[name])))


def broken_rule(name: str, value: Value) -> str | None:
    """The rule of field `name` that `value` breaks, e.g. ``must be in (0, 1]``; None when it fits.

    `FinetuneConfig` itself is asked, so that its rules are written once. Learning rates of 0, which a
    single run may want, are refused: a linear probe with it trains nothing at all, and the ranking
    compares learning rates by their logarithm.
    """
    if name not in SEARCHABLE:
        return None  # a `SearchSpace` says so, once
    if wrong := misfit(SEARCHABLE[name], value):
        return wrong[0]
    if name == "head_learning_rate" and value == 0:
        return "must be > 0, or a linear probe trains nothing"
    if name == "learning_rate" and value == 0:
        return "must be > 0; blocks that shall not learn are frozen by freeze_depth"
    try:
        FinetuneConfig(backbone="any", **{name: value})  # type: ignore[arg-type]  # the field's kind
    except InvalidConfig as error:
        return str(error).removeprefix(f"{name} ").rpartition(", got ")[0]
    return None
