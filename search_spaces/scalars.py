"""Whether a value read from YAML is of the kind a field needs, and what to write if not."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["misfit"]

_NOUNS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    tuple: "a list of two block numbers, e.g. [2, 5]",
}


def misfit(kind: type, value: object) -> tuple[str, str] | None:
    """The rule and the hint for a `value` that is no `kind` (bool, int, float, str or tuple); None when it is.

    Nothing is converted but a whole number to a float: true is no number, 1.0 is not whole, and
    quoted digits are text. A float is finite. A tuple is a list or tuple of two whole numbers.
    """
    if _is(kind, value):
        return None
    return f"must be {_NOUNS[kind]}", _hint(kind, value)


def _is(kind: type, value: object) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is tuple:
        return isinstance(value, list | tuple) and len(value) == 2 and all(_is(int, item) for item in value)
    return isinstance(value, kind)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def _hint(kind: type, value: object) -> str:
    if value is None:
        return "leave the key out to take its default"
    if kind in (int, float) and isinstance(value, str):
        return "write it without quotes" if _reads_as_number(value) else ""
    if kind is int and isinstance(value, float) and _finite(value) and value.is_integer() and abs(value) < 1e15:
        return f"write {int(value)}"
    if kind is str and isinstance(value, int | float):
        return "write it in quotes"
    return ""


def _reads_as_number(text: str) -> bool:
    try:
        return len(text) <= 40 and math.isfinite(float(text))
    except ValueError:
        return False
