"""CSV and TSV: every cell as the text it is, with the line that each row begins on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from trainables.data.sources.contract import listed
from trainables.data.sources.table import Table, arrow_table, file_key
from trainables.errors import DataError

__all__ = ["read_delimited"]

_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


def read_delimited(path: Path) -> Table:
    """The table in `path`: UTF-8 with a header line; what separates cells is what the header has most of.

    Types are not guessed: a text "007" or "NA" is that text.

    Raises:
        DataError: it cannot be read so; rows of another width are all listed.
    """
    separator = _separator(path)
    parse = arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    try:
        with arrow_csv.open_csv(path, parse_options=parse) as reader:
            names = reader.schema.names
        convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        table = arrow_csv.read_csv(path, parse_options=parse, convert_options=convert)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(_diagnosis(path, separator, str(error))) from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}:1: column names must differ; {', '.join(map(repr, twice))} occurs more than once")
    return arrow_table(
        table, place=str(path), folder=path.parent, key=file_key(path), lines=_lines(path, separator, table)
    )


def _separator(path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open("rb") as file:
        header = file.readline(1 << 20).decode("utf-8", errors="replace")
    return max(_SEPARATORS, key=header.count)


def _lines(path: Path, separator: str, table: pa.Table) -> npt.NDArray[np.int64]:
    """Line that each row begins on: every line break inside a quoted cell moves the rows below it."""
    inside = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        inside += pc.count_substring(column, "\n").to_numpy()
    ends = 1 + np.cumsum(1 + inside)
    content = path.read_bytes()
    if len(ends) and ends[-1] == content.count(b"\n") + (not content.endswith(b"\n")):
        return np.asarray(ends - inside)
    return _counted_lines(path, separator, table.num_rows)


def _counted_lines(path: Path, separator: str, num_rows: int) -> npt.NDArray[np.int64]:
    """As `_lines`, by reading again: blank lines, which are no rows, move those below them too."""
    starts, before = [], 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        try:
            for row in reader:
                if row:
                    starts.append(before + 1)
                before = reader.line_num
        except csv.Error:  # a cell longer than this reader takes
            starts = []
    in_order = starts[1:] if len(starts) == num_rows + 1 else range(2, num_rows + 2)
    return np.array(in_order, dtype=np.int64)


def _diagnosis(path: Path, separator: str, reason: str) -> str:
    content = path.read_bytes()
    if not content.strip():
        return f"{path} is empty; expected a header line and a row per sample"
    if content.startswith(_UTF16):
        return f"{path} is UTF-16; save it as UTF-8 (iconv -f utf-16 -t utf-8)"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return (
            f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x}); if it was saved as Latin-1 or "
            "Windows-1252, convert it: iconv -f windows-1252 -t utf-8"
        )
    wrong = _rows_of_another_width(text, separator)
    if not wrong:
        return f"{path} cannot be read as a table: {reason}"
    return (
        f"{path}: {len(wrong)} rows have more or fewer cells than the header; cells are separated by "
        f"{_SEPARATORS[separator]}, put a text that contains them in double quotes:{listed(wrong)}"
    )


def _rows_of_another_width(text: str, separator: str) -> list[str]:
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator)
    wrong, width, before = [], 0, 0
    try:
        for row in reader:
            width = width or len(row)
            if row and len(row) != width:
                wrong.append(f"line {before + 1}: {len(row)} cells, expected {width}")
            before = reader.line_num
    except csv.Error as error:
        wrong.append(f"line {before + 1}: {error}")
    return wrong
