"""Tables of scores that somebody else measured, from CSV and Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from orchestrator.errors import UsageError

__all__ = ["SUFFIXES", "is_score_file", "read_scores"]

SUFFIXES: Final = (".csv", ".parquet")

_TYPES: Final = {
    "task": pa.string(),
    "backbone": pa.string(),
    "score": pa.float64(),
    "seed": pa.int64(),
    "correct": pa.string(),  # zeros at its start count
    "chance": pa.float64(),
}


def is_score_file(name: str) -> bool:
    """Whether an argument names a table of scores and not a sweep."""
    return Path(name).suffix.lower() in SUFFIXES


def read_scores(file: Path) -> pa.Table:
    """The table in a file, for `orchestrator.ranking.rank_scores`, which checks what it means.

    Raises:
        UsageError: there is no such file, it cannot be read, or it is not what its suffix says.
    """
    if not file.is_file():
        raise UsageError(f"a table of scores must be a file, got {file}")
    try:
        if file.suffix.lower() == ".parquet":
            return pq.read_table(file)
        options = csv.ConvertOptions(column_types=_TYPES, strings_can_be_null=True)
        return csv.read_csv(file, convert_options=options)
    except (pa.ArrowInvalid, OSError) as error:  # the latter of a damaged Parquet file as well
        raise UsageError(f"{file} cannot be read as {file.suffix.lower()[1:]}: {error}") from error
