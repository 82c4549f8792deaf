"""Tables of texts, pairs of texts, or images and sounds by path or by bytes, as a source."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trainables.config import TaskSpec
from trainables.data.sources.columns import Columns, find_columns, is_blank, part_of
from trainables.data.sources.contract import PARTS, Source, listed
from trainables.data.sources.reading import read, read_text, require_reader
from trainables.data.sources.table import Table
from trainables.data.sources.targets import encode_targets, is_unlabelled
from trainables.errors import DataError, did_you_mean
from trainables.modality import Modality

__all__ = ["open_tables"]

_Indices: TypeAlias = npt.NDArray[np.int64]
_Parts: TypeAlias = Sequence[tuple[int, Table]]


def open_tables(spec: TaskSpec, parts: _Parts, notes: Sequence[str] = ()) -> Source:
    """The rows of all tables, one below the other.

    Args:
        spec: its columns, kind and modality.
        parts: each table with the number of its split; the columns are found in the first training table.
        notes: what is already known of the data.

    Raises:
        DataError: there is no training table, columns cannot be told or are missing, or labels are wrong.
        MissingExtra: the input is sound and soundfile is not installed.
    """
    if 0 not in {part for part, _ in parts}:
        raise DataError(f"{spec.data} has no train split; it has {', '.join(t.place for _, t in parts)}")
    columns = find_columns(spec, next(table for part, table in parts if part == 0), spec.kind)
    _require_columns(parts, columns)
    names = _class_names(parts, columns)
    parts, dropped = _labelled(parts, columns, names)
    tables = [table for _, table in parts]
    starts = [0, *accumulate(table.num_rows for table in tables)]

    def where(row: int) -> str:
        at = bisect_right(starts, row) - 1
        return tables[at].where(row - starts[at])

    labels = {column: _joined(tables, column) for column in columns.labels}
    targets = encode_targets(spec.kind, labels, where, names)
    require_reader(columns.modality)
    return Source(
        modality=columns.modality,
        kind=spec.kind,
        key=_key(tables, columns),
        names=tuple(where(row) for row in range(starts[-1])),
        targets=targets.values,
        class_names=targets.class_names,
        given_split=_given_split(parts, columns, where),
        groups=_groups(_joined(tables, columns.group)) if columns.group else None,
        load=_loader(tables, starts, columns),
        input_columns=columns.inputs,
        label_columns=columns.labels,
        notes=(*notes, *dropped, *targets.notes, *_said_of(spec, columns)),
    )


def _joined(tables: Sequence[Table], column: str) -> list[Any]:
    return [value for table in tables for value in table.values(column)]


def _said_of(spec: TaskSpec, columns: Columns) -> list[str]:
    if columns.split is not None and spec.split_column is None:
        return [f"column {columns.split!r} says which split each row belongs to"]
    return []


def _require_columns(parts: _Parts, columns: Columns) -> None:
    """Every table has what was chosen in the first; a test set may lack the label, and is left aside then."""
    needed = [*columns.inputs, *(c for c in (columns.split, columns.group) if c is not None)]
    for part, table in parts:
        wanted = [*needed, *columns.labels] if part == 0 else needed
        missing = [f"{name!r}{did_you_mean(name, table.columns)}" for name in wanted if name not in table.columns]
        if missing:
            raise DataError(
                f"{table.place} has no column {', no column '.join(missing)}, which the training samples have; it has "
                f"{', '.join(map(repr, table.columns))}"
            )


def _class_names(parts: _Parts, columns: Columns) -> tuple[str, ...] | None:
    """Names of numbered classes, on which all tables must agree."""
    if len(columns.labels) != 1:
        return None
    (label,) = columns.labels
    found = {table.class_names.get(label) for _, table in parts if label in table.columns}
    if len(found) > 1:
        raise DataError(
            f"{' and '.join(table.place for _, table in parts)} must name the classes in {label!r} alike; "
            "they differ in the names or their order"
        )
    return found.pop()


def _labelled(
    parts: _Parts, columns: Columns, names: tuple[str, ...] | None
) -> tuple[list[tuple[int, Table]], list[str]]:
    """Without held-out tables that have no label at all, as published test sets often have not."""
    kept, notes = [], []
    for part, table in parts:
        if part and not all(_has_labels(table, column, names) for column in columns.labels):
            notes.append(f"{table.place} has no labels: its {table.num_rows:,} rows are left aside")
        else:
            kept.append((part, table))
    return kept, notes


def _has_labels(table: Table, column: str, names: tuple[str, ...] | None) -> bool:
    return column in table.columns and not all(is_unlabelled(value, names) for value in table.values(column))


def _given_split(parts: _Parts, columns: Columns, where: Callable[[int], str]) -> _Indices | None:
    tables = [table for _, table in parts]
    if columns.split is None:
        if len({part for part, _ in parts}) == 1:
            return None
        return np.repeat([part for part, _ in parts], [table.num_rows for table in tables]).astype(np.int64)
    if len({part for part, _ in parts}) > 1:
        raise DataError(
            f"split_column {columns.split!r} is given, and {' and '.join(table.place for table in tables)} are splits "
            "already; drop one"
        )
    values = _joined(tables, columns.split)
    found = [part_of(value) for value in values]
    wrong = [f"{where(row)}: {values[row]!r}" for row, part in enumerate(found) if part is None]
    if wrong:
        raise DataError(
            f"column {columns.split!r} must say train, val or test of every row; {len(wrong):,} rows differ:"
            f"{listed(wrong)}"
        )
    if 0 not in found:
        there = ", ".join(sorted({PARTS[part] for part in found if part is not None}))
        raise DataError(f"column {columns.split!r} has no row of train; it has {there} only")
    return np.array(found, dtype=np.int64)


def _groups(values: Sequence[Any]) -> _Indices:
    """Equal numbers for equal values; a row without a value is a group of its own."""
    number_of: dict[Any, int] = {}
    groups = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        key = (row,) if is_blank(value) else str(value)
        groups[row] = number_of.setdefault(key, len(number_of))
    return groups


def _key(tables: Sequence[Table], columns: Columns) -> str:
    """Of the tables, the input columns, and place, size and time of change of each file they name."""
    key = hashlib.sha256(f"{columns.modality}\0{columns.inputs}".encode())
    for table in tables:
        key.update(f"{table.key}\0{table.folder.resolve()}\n".encode())
        if columns.modality == "text" or table.types or not isinstance(table.cell(columns.inputs[0])(0), str):
            continue
        for value in table.values(columns.inputs[0]):
            try:
                stat = (table.folder / str(value)).stat()
            except OSError:  # reading it says why, and names the row
                continue
            key.update(f"{value}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return key.hexdigest()[:16]


def _loader(tables: Sequence[Table], starts: Sequence[int], columns: Columns) -> Callable[[int], Any]:
    cells = [[table.cell(column) for column in columns.inputs] for table in tables]

    def load(index: int) -> Any:
        at = bisect_right(starts, index) - 1
        values = [cell(index - starts[at]) for cell in cells[at]]
        if columns.modality != "text":
            return _read_cell(columns.modality, tables[at].folder, values[0])
        texts = tuple(read_text(None if value is None else str(value)) for value in values)
        return texts if len(texts) > 1 else texts[0]

    return load


def _read_cell(modality: Modality, folder: Path, value: Any) -> Any:
    """A sample of its bytes, or of the file it names."""
    path = value
    if isinstance(value, dict):
        path, value = value.get("path"), value.get("bytes")
    if isinstance(value, bytes):
        return read(modality, value)
    if is_blank(path):
        raise ValueError("its path is empty")
    if not isinstance(path, str):
        raise ValueError(f"it is neither a path nor the bytes of a file, but {type(value).__name__}")
    try:
        return read(modality, folder / path)
    except ValueError as error:
        raise ValueError(str(error) if path in str(error) else f"{path}: {error}") from error
