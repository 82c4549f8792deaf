"""What a page is made of: sections of blocks, as values. The template turns each into HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["Block", "Cell", "Code", "Facts", "Figure", "Missing", "Pictures", "Prose", "Section", "Shown", "Table"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A table's cell that is more than text."""

    text: str
    color: str | None = None
    """Of a swatch before the text: ``#RRGGBB``."""

    shade: float | None = None
    """Strength of the background, in [-1, 1]: blue above zero, orange below."""

    anchor: str = ""
    """Of the section the cell leads to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Numbers to read and to copy. The first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    words: frozenset[int] = frozenset()
    """Places of the columns that hold words, and are therefore set left, beside the first."""

    folded: bool = False
    """Whether only its caption shows until it is opened."""

    kind: str = "table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart with what a reader needs who cannot see it."""

    svg: Markup
    alt: str
    caption: str
    table: Table | None = None
    """Its numbers, folded away below it."""

    kind: str = "figure"


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """What was not measured, and how to have it measured."""

    what: str
    how: str
    kind: str = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prose:
    """Paragraphs."""

    paragraphs: tuple[str, ...]
    lead: bool = False
    """Set larger: what a hurried reader reads."""

    kind: str = "prose"


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Terms and what they are here."""

    items: tuple[tuple[str, str], ...]
    kind: str = "facts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """Text to copy as it is."""

    title: str
    text: str
    folded: bool = False
    kind: str = "code"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture in the page."""

    address: str
    """A ``data:`` address: the picture itself."""

    alt: str
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures side by side."""

    items: tuple[Shown, ...]
    caption: str
    kind: str = "pictures"


Block = Table | Figure | Missing | Prose | Facts | Code | Pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading with what belongs to it."""

    title: str
    anchor: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = ()
    color: str | None = None
    """Of a swatch before the title."""
