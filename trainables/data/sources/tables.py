"""Files and folders of tables: which file is which split, and what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.data.sources.contract import PART_OF, listed
from trainables.data.sources.delimited import read_delimited
from trainables.data.sources.table import Table, file_key, rows_table
from trainables.errors import DataError

__all__ = ["TABLE_SUFFIXES", "feature_names", "is_folder_of_tables", "read_table", "read_tables"]

TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"})

_SPLIT_FILE: Final = re.compile(rf"({'|'.join(PART_OF)})([-_.].*)?", re.IGNORECASE)
"""``train.csv``, and the shards ``train-00000-of-00002.parquet``."""


def is_folder_of_tables(folder: Path) -> bool:
    """Whether `folder` has a table for a split, or one table that is all."""
    return bool(_tables_by_part(folder))


def read_tables(path: Path) -> list[tuple[int, Table]]:
    """The tables of `path`, a file or a folder, each with the number of its split (0 where it has none).

    Raises:
        DataError: a file cannot be read.
    """
    if not path.is_dir():
        return [(0, read_table(path))]
    return [(part, read_table(file)) for part, files in sorted(_tables_by_part(path).items()) for file in files]


def read_table(path: Path) -> Table:
    """The table in one file.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}; looked in {path.resolve().parent}")
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{path} is no table; expected a file of {', '.join(sorted(TABLE_SUFFIXES))}")
    reader = {".csv": read_delimited, ".tsv": read_delimited, ".parquet": _read_parquet}.get(suffix, _read_json)
    table = reader(path)
    if not table.num_rows:
        raise DataError(f"{path} has no rows; expected one per sample")
    return table


def _tables_by_part(folder: Path) -> dict[int, list[Path]]:
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in TABLE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    found: dict[int, list[Path]] = {}
    for file in files:
        match = _SPLIT_FILE.fullmatch(file.stem)
        if match:
            found.setdefault(PART_OF[match[1].lower()], []).append(file)
    return found or ({0: files} if len(files) == 1 else {})


def _read_json(path: Path) -> Table:
    """One object per line, or one list of objects."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start + 1}); JSON has to be") from error
    if text.lstrip().startswith("["):
        return _read_json_list(path, text)
    rows, lines, wrong = [], [], []
    # Not splitlines: that also breaks at the line separators which JSON allows inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            wrong.append(f"line {number}: {error}")
            continue
        if isinstance(row, dict):
            rows.append(row)
            lines.append(number)
        else:
            wrong.append(f'line {number}: expected an object such as {{"text": ..., "label": ...}}')
    if wrong:
        raise DataError(f"{path}: {len(wrong)} lines are not JSON objects, one per line:{listed(wrong)}")
    place = {"place": str(path), "folder": path.parent, "key": file_key(path)}
    return rows_table(rows, lines=np.array(lines, dtype=np.int64), **place)


def _read_json_list(path: Path, text: str) -> Table:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    wrong = [f"item {i + 1}: {json.dumps(row)[:60]}" for i, row in enumerate(rows) if not isinstance(row, dict)]
    if wrong:
        raise DataError(f"{path}: {len(wrong)} items of the list are not objects:{listed(wrong)}")
    return rows_table(rows, place=str(path), folder=path.parent, key=file_key(path))


def _read_parquet(path: Path) -> Table:
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error
    starts = np.cumsum([0, *(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))])
    names, types = _written_by_datasets(file.schema_arrow)

    def values(column: str) -> Any:
        return file.read([column]).column(column).to_pylist()

    def cell(column: str) -> Callable[[int], Any]:
        kind = file.schema_arrow.field(column).type
        if not (pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            chunks = file.read([column]).column(column)
            return lambda row: chunks[row].as_py()

        # Files inside the table may be larger than memory: one row group at a time, for all threads that read.
        lock = Lock()

        @lru_cache(maxsize=2)
        def group(number: int) -> pa.ChunkedArray:
            return file.read_row_group(number, [column]).column(column)

        def of_row(row: int) -> Any:
            number = int(np.searchsorted(starts, row, side="right")) - 1
            with lock:
                chunks = group(number)
            return chunks[row - int(starts[number])].as_py()

        return of_row

    return Table(
        place=str(path),
        folder=path.parent,
        key=file_key(path),
        columns=tuple(file.schema_arrow.names),
        num_rows=file.metadata.num_rows,
        values=values,
        cell=cell,
        class_names=names,
        types=types,
    )


def _written_by_datasets(schema: pa.Schema) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Class names and media columns that the ``datasets`` library notes in its files."""
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    return feature_names(noted.get("info", {}).get("features") or {})


def feature_names(features: dict[str, Any]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Of features as ``datasets`` writes them: names of classes, and which columns are media."""
    names, types = {}, {}
    for column, feature in features.items():
        kind = feature.get("_type") if isinstance(feature, dict) else None
        # A column of lists of classes has the class as its feature; older files write [class].
        inner = feature.get("feature", feature) if isinstance(feature, dict) else feature[0] if feature else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            names[column] = tuple(inner["names"])
        if kind in ("Image", "Audio"):
            types[column] = kind
    return names, types
