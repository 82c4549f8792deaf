"""Labels as people write them, as the numbers that a task is trained on."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from trainables.config import Kind
from trainables.data.sources.columns import is_blank
from trainables.data.sources.contract import listed
from trainables.errors import DataError

__all__ = ["Targets", "encode_targets", "guess_kind", "is_unlabelled"]

_Where: TypeAlias = Callable[[int], str]
_MANY: Final = 50
_SEPARATORS: Final = ("|", ";", ",")
_BINARY: Final = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """As `Source` has them."""

    values: npt.NDArray[Any]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def encode_targets(
    kind: Kind, columns: Mapping[str, Sequence[Any]], where: _Where, names: tuple[str, ...] | None = None
) -> Targets:
    """The targets in `columns`, every one of as many values as there are samples.

    Args:
        kind: of the task.
        columns: by name; one, or for ``multilabel`` and ``regression`` several.
        where: says where the row of a number is, for errors.
        names: of the classes, where the data number them by position.

    Raises:
        DataError: labels are missing or not of the kind; all such rows are listed.
    """
    if kind == "regression":
        return _numbers(columns, where)
    if kind == "multilabel":
        return _label_sets(columns, where, names)
    if len(columns) > 1:
        raise DataError(
            f"a classification has one label column, got {', '.join(map(repr, columns))}; set label_columns to one "
            "of them, or kind to multilabel or regression"
        )
    ((column, values),) = columns.items()
    return _classes(column, values, where, names)


def is_unlabelled(value: Any, names: tuple[str, ...] | None) -> bool:
    """Whether a label is missing; among numbered classes -1 says so, as published test sets do."""
    return is_blank(value) or (names is not None and value == -1)


def _classes(column: str, values: Sequence[Any], where: _Where, names: tuple[str, ...] | None) -> Targets:
    _refuse(f"have no label in column {column!r}", [i for i, v in enumerate(values) if is_unlabelled(v, names)], where)
    if any(isinstance(value, (list, tuple, np.ndarray)) for value in values):
        raise DataError(f"column {column!r} holds lists of labels; set kind to multilabel")
    numbers = None if names is not None else _as_numbers(values)
    found = len(set(map(str, values)))
    if numbers is not None and found > max(_MANY, 0.2 * len(values)) and any(not n.is_integer() for n in numbers):
        raise DataError(
            f"column {column!r} has {found:,} different numbers in {len(values):,} rows, such as {values[0]}; these "
            "are no classes: set kind to regression"
        )
    if numbers is None and names is None and found > max(_MANY, 0.5 * len(values)):
        raise DataError(
            f"column {column!r} has {found:,} different values in {len(values):,} rows, such as "
            f"{str(values[0])[:60]!r}; these are no classes: set label_columns to another column"
        )
    if names is not None:
        return _numbered_classes(column, values, where, names)
    if numbers is not None and all(number.is_integer() for number in numbers):
        whole = sorted({int(number) for number in numbers})
        number_of = {number: i for i, number in enumerate(whole)}
        classes = [number_of[int(number)] for number in numbers]
        return Targets(values=np.array(classes, dtype=np.int64), class_names=tuple(map(str, whole)))
    texts = [str(value).strip() for value in values]
    known = sorted(set(texts), key=(lambda t: float(t)) if numbers is not None else None)
    by_name = {name: i for i, name in enumerate(known)}
    alike = [name for name, count in Counter(name.lower() for name in known).items() if count > 1]
    note = f"classes that differ in upper and lower case only are told apart: {', '.join(alike[:3])}"
    return Targets(
        values=np.array([by_name[text] for text in texts], dtype=np.int64),
        class_names=tuple(known),
        notes=(note,) if alike else (),
    )


def _numbered_classes(column: str, values: Sequence[Any], where: _Where, names: tuple[str, ...]) -> Targets:
    wrong = [i for i, value in enumerate(values) if not 0 <= int(value) < len(names)]
    _refuse(f"have a number in column {column!r} that none of its {len(names)} classes has", wrong, where)
    numbers = np.array([int(value) for value in values], dtype=np.int64)
    used = np.unique(numbers)
    unused = [name for i, name in enumerate(names) if i not in set(used.tolist())]
    note = f"{len(unused)} of {len(names)} classes have no sample and are left out: {', '.join(unused[:3])}"
    return Targets(
        values=np.searchsorted(used, numbers).astype(np.int64),
        class_names=tuple(names[i] for i in used),
        notes=(note,) if unused else (),
    )


def _label_sets(columns: Mapping[str, Sequence[Any]], where: _Where, names: tuple[str, ...] | None) -> Targets:
    if len(columns) > 1:
        marks = np.zeros((len(next(iter(columns.values()))), len(columns)), dtype=np.float32)
        for position, (column, values) in enumerate(columns.items()):
            found = [_BINARY.get(str(value).strip().lower()) for value in values]
            _refuse(f"have neither 0 nor 1 in column {column!r}", [i for i, f in enumerate(found) if f is None], where)
            marks[:, position] = found
        return Targets(values=marks, class_names=tuple(columns))
    ((column, values),) = columns.items()
    _refuse(f"have no labels in column {column!r}", [i for i, v in enumerate(values) if _is_missing(v)], where)
    sets, notes = _split(column, values)
    if names is not None:
        wrong = [i for i, labels in enumerate(sets) if not all(0 <= int(label) < len(names) for label in labels)]
        _refuse(f"have a number in column {column!r} that none of its {len(names)} labels has", wrong, where)
        sets = [[names[int(label)] for label in labels] for labels in sets]
    used = {label for labels in sets for label in labels}
    numbers = _as_numbers(list(used))
    order = sorted(used, key=(lambda label: float(label)) if numbers else None)
    known = [name for name in names if name in used] if names is not None else order
    position_of = {name: i for i, name in enumerate(known)}
    marks = np.zeros((len(sets), len(known)), dtype=np.float32)
    for row, labels in enumerate(sets):
        marks[row, [position_of[label] for label in labels]] = 1
    return Targets(values=marks, class_names=tuple(known), notes=notes)


def _is_missing(value: Any) -> bool:
    """Blank text is no label at all, which a sample may have; nothing is unknown."""
    return value is None or (isinstance(value, float) and value != value)


def _split(column: str, values: Sequence[Any]) -> tuple[list[list[str]], tuple[str, ...]]:
    """The labels of each row, from lists, from lists written as text, or from separated text."""
    lists = [_as_list(value) for value in values]
    if all(found is not None for found in lists):
        return [[str(label).strip() for label in found or ()] for found in lists], ()
    texts = [str(value) for value in values]
    separator = next((s for s in _SEPARATORS if any(s in text for text in texts)), None)
    if separator is None:
        raise DataError(
            f"column {column!r} has one label per row, such as {texts[0][:60]!r}: multilabel takes lists, labels "
            "separated by |, ; or a comma, or several columns of 0 and 1; set kind to classification"
        )
    sets = [[label.strip() for label in text.split(separator) if label.strip()] for text in texts]
    return sets, (f"labels in column {column!r} are taken to be separated by {separator!r}",)


def _as_list(value: Any) -> list[Any] | None:
    if isinstance(value, (list, tuple, np.ndarray)):
        return list(value)
    text = str(value).strip()
    if not text:
        return []
    if text[0] == "[" and text[-1] == "]":
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return None


def _numbers(columns: Mapping[str, Sequence[Any]], where: _Where) -> Targets:
    found = {}
    for column, values in columns.items():
        numbers = [_as_number(value) for value in values]
        wrong = [i for i, number in enumerate(numbers) if number is None or not math.isfinite(number)]
        _refuse(f"have no finite number in column {column!r}", wrong, where)
        found[column] = np.array(numbers, dtype=np.float64)
    with np.errstate(over="ignore"):
        targets = np.stack(list(found.values()), axis=1).astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(targets).all(axis=1)).tolist()
    _refuse("have a target beyond the range of 32-bit floating-point numbers", wrong, where)
    return Targets(values=targets, class_names=tuple(found))


def _as_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _as_numbers(values: Sequence[Any]) -> list[float] | None:
    """All `values` as finite numbers, or None where one is not."""
    numbers = []
    for value in values:
        number = None if isinstance(value, bool) else _as_number(value)
        if number is None or not math.isfinite(number):
            return None
        numbers.append(number)
    return numbers


def _refuse(problem: str, rows: Sequence[int], where: _Where) -> None:
    if rows:
        raise DataError(f"{len(rows):,} rows {problem}; correct or remove them:{listed([where(row) for row in rows])}")


def guess_kind(columns: Sequence[Sequence[Any]]) -> Kind:
    """What kind of task the values of label columns look like."""
    if len(columns) > 1:
        return "multilabel" if all(str(v).strip().lower() in _BINARY for c in columns for v in c) else "regression"
    values = [value for value in columns[0] if not is_blank(value)]
    lists = [_as_list(value) for value in values]
    if values and all(found is not None for found in lists):
        return "multilabel"
    numbers = _as_numbers(values)
    if numbers is not None:
        broken = any(not number.is_integer() for number in numbers)
        return "regression" if broken and len(set(numbers)) > max(_MANY, 0.2 * len(values)) else "classification"
    texts = [str(value) for value in values]
    several = [text for text in texts if "|" in text or ";" in text]
    return "multilabel" if len(several) > 0.1 * len(texts) > 0 else "classification"
