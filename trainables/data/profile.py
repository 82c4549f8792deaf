"""What the values of each column of a table look like, for whoever has to tell which column is what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import numpy as np

from trainables.data.sources.columns import is_blank, part_of
from trainables.data.sources.reading import modality_of
from trainables.data.sources.table import Table

__all__ = ["Column", "profiles", "words_of"]

_LOOKED_AT: Final = 500
_MOST: Final = 0.9
"""Share of the values that a column's form is told by: a few may be anything."""

_LETTERS_APART: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_BINARY: Final = frozenset({"0", "1", "0.0", "1.0", "true", "false"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column; shares are in [0, 1] and of the values that are not blank."""

    name: str
    words: frozenset[str]
    """Of its name, in lower case: ``review``, ``id`` of ``reviewId``."""

    num_rows: int
    num_filled: int
    num_distinct: int
    largest: int
    """Rows that share the most frequent value."""

    is_number: bool
    is_binary: bool
    is_file: bool
    """Paths, or bytes, of images or sounds."""

    is_date: bool
    is_list: bool
    is_split: bool
    """Every value names a split, train is among them, and there are several."""

    mean_words: float
    """Of its values as texts; 0 of numbers, files and dates."""


def profiles(table: Table) -> tuple[Column, ...]:
    """Of every column, in the order of the table."""
    return tuple(_profile(table, name) for name in table.columns)


def words_of(name: str) -> frozenset[str]:
    """Of the name of a column, in lower case."""
    return frozenset(word.lower() for word in _LETTERS_APART.split(name) if word)


def _profile(table: Table, name: str) -> Column:
    if _holds_files(table, name):
        n = table.num_rows
        return _column(name, n, n, Counter({"": 1}), is_file=True)
    values = [value for value in table.values(name) if not is_blank(value)]
    counts = Counter(map(str, values))
    some = _some(values)
    parts = {part_of(value) for value in counts}
    is_number = _mostly(some, _is_number)
    is_file = not is_number and _mostly(some, lambda value: _is_media(str(value)))
    is_date = not is_number and not is_file and _mostly(some, _is_date)
    is_list = _mostly(some, lambda value: isinstance(value, (list, tuple, np.ndarray)))
    plain = bool(some) and not (is_number or is_file or is_date or is_list)
    return _column(
        name,
        table.num_rows,
        len(values),
        counts,
        is_number=is_number,
        is_binary=bool(values) and {value.strip().lower() for value in counts} <= _BINARY,
        is_file=is_file,
        is_date=is_date,
        is_list=is_list,
        is_split=None not in parts and 0 in parts and len(parts) > 1,
        mean_words=float(np.mean([len(str(value).split()) for value in some])) if plain else 0.0,
    )


def _column(name: str, num_rows: int, num_filled: int, counts: Counter[str], **found: Any) -> Column:
    nothing = dict.fromkeys(("is_number", "is_binary", "is_file", "is_date", "is_list", "is_split"), False)
    return Column(
        name=name,
        words=words_of(name),
        num_rows=num_rows,
        num_filled=num_filled,
        num_distinct=len(counts),
        largest=max(counts.values(), default=0),
        **{**nothing, "mean_words": 0.0, **found},
    )


def _holds_files(table: Table, name: str) -> bool:
    """Told from the first value: the bytes of all of them may be more than memory holds."""
    return name in table.types or (table.num_rows > 0 and isinstance(table.cell(name)(0), (bytes, dict)))


def _some(values: Sequence[Any]) -> list[Any]:
    """Evenly from all over the column: tables are often sorted."""
    return list(values[:: max(len(values) // _LOOKED_AT, 1)])


def _mostly(values: Sequence[Any], holds: Any) -> bool:
    return bool(values) and sum(map(bool, map(holds, values))) >= _MOST * len(values)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)


def _is_media(value: str) -> bool:
    # A sentence may end in the name of a file; a path has no line break and is not long.
    return len(value) < 1000 and "\n" not in value and modality_of(value) in ("image", "audio")


def _is_date(value: Any) -> bool:
    if isinstance(value, date):  # a datetime is one, too
        return True
    if not isinstance(value, str) or len(value) > 40:
        return False
    try:
        datetime.fromisoformat(value.strip())
    except ValueError:
        return bool(re.fullmatch(r"\d{1,2}[./-]\d{1,2}[./-]\d{4}( \d{1,2}:\d{2}(:\d{2})?)?", value.strip()))
    return True
