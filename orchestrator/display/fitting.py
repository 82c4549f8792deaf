"""A table that fits its terminal: whole columns are left out, never the ends of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.spelling import spelled

__all__ = ["Cell", "Column", "fitting_table", "kept_columns"]

Cell = str | Text | ProgressBar


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column with its cells, top to bottom."""

    header: str
    cells: Sequence[Cell]
    rank: int
    """Columns of the highest rank are left out first; 0 is never left out."""

    justify: Literal["left", "right"] = "right"

    @property
    def width(self) -> int:
        texts = [
            *self.header.split("\n"),
            *(cell for cell in self.cells if not isinstance(cell, ProgressBar)),
        ]
        widest = max(cell_len(text.plain if isinstance(text, Text) else text) for text in texts)
        return max([widest, *(cell.width or 0 for cell in self.cells if isinstance(cell, ProgressBar))])


def kept_columns(columns: Sequence[Column], width: int) -> list[Column]:
    """Those that fit into `width` characters, in their order."""
    kept = list(columns)
    while sum(column.width + 2 for column in kept) > width:
        least = max(kept, key=lambda column: column.rank)
        if least.rank == 0:
            break
        kept.remove(least)
    return kept


def fitting_table(
    columns: Sequence[Column], width: int, *, title: str | None = None, ascii_only: bool = False
) -> Table:
    """The columns that fit into `width` characters, in their order. Brackets in texts are brackets, not markup.

    Args:
        ascii_only: spell every other character, for terminals that lack it.
    """
    kept = kept_columns([_plain(column) for column in columns] if ascii_only else columns, width)
    heading = None if title is None else Text(spelled(title) if ascii_only else title)
    table = Table(box=None, padding=(0, 1), title=heading, title_justify="left", title_style="bold")
    for column in kept:
        table.add_column(Text(column.header), justify=column.justify, no_wrap=True, header_style="dim")
    for cells in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def _plain(column: Column) -> Column:
    """In ASCII."""
    return replace(column, header=spelled(column.header), cells=[_plain_cell(cell) for cell in column.cells])


def _plain_cell(cell: Cell) -> Cell:
    if isinstance(cell, ProgressBar):
        return cell
    return Text(spelled(cell.plain), style=cell.style) if isinstance(cell, Text) else spelled(cell)
