"""A table of samples, whatever file it came from: columns, rows and where each row stands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Table", "arrow_table", "file_key", "rows_table"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows that are not copied out before they are asked for."""

    place: str
    """What errors and names call it: its path, or the dataset's name with the split's."""

    folder: Path
    """Paths in it are relative to this."""

    key: str
    """Changes when its content does."""

    columns: tuple[str, ...]
    num_rows: int
    values: Callable[[str], Sequence[Any]]
    """A whole column as Python values; what is missing is None."""

    cell: Callable[[str], Callable[[int], Any]]
    """A column by row, read as it is needed."""

    lines: npt.NDArray[np.int64] | None = None
    """Line of the file that each row begins on, 1-based; None where rows have no lines."""

    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that the file itself gives to the numbers in a column."""

    types: Mapping[str, str] = field(default_factory=dict)
    """What the file itself says a column holds: ``Image`` or ``Audio``."""

    def where(self, row: int) -> str:
        """The place of a row as a person finds it: ``data.csv:17``."""
        if self.lines is None:
            return f"{self.place}, row {row + 1}"
        return f"{self.place}:{self.lines[row]}"


def arrow_table(table: pa.Table, **described: Any) -> Table:
    """Of columns that Arrow holds, mapped or in memory; `described` are the other fields."""

    def cell(column: str) -> Callable[[int], Any]:
        chunks = table.column(column)
        return lambda row: chunks[row].as_py()

    return Table(
        columns=tuple(table.column_names),
        num_rows=table.num_rows,
        values=lambda column: table.column(column).to_pylist(),
        cell=cell,
        **described,
    )


def rows_table(rows: Sequence[Mapping[str, Any]], **described: Any) -> Table:
    """Of one mapping per row, which need not all have the same keys."""
    columns = tuple(dict.fromkeys(column for row in rows for column in row))

    def values(column: str) -> Sequence[Any]:
        return [row.get(column) for row in rows]

    return Table(
        columns=columns,
        num_rows=len(rows),
        values=values,
        cell=lambda column: lambda row: rows[row].get(column),
        **described,
    )


def file_key(path: Path) -> str:
    """Of a file's place, size and time of change: reading every byte at every start would cost minutes."""
    stat = path.stat()
    return hashlib.sha256(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:16]
