"""What a page is made of: sections of blocks, as values. The template turns each into HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

__all__ = [
    "Basis",
    "Block",
    "Card",
    "Cell",
    "Code",
    "Commands",
    "Facts",
    "Figure",
    "Missing",
    "Pictures",
    "Prose",
    "Section",
    "Shown",
    "Table",
    "all_blocks",
]


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

    named: bool = False
    """Whether its columns are backbones: their names may be broken anywhere."""

    kind: str = "table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Basis:
    """What a figure rests on, and where it ends. None may be empty: what is not there is said to be not there."""

    num: str
    """Of what there are how many."""

    seeds: str
    budget: str
    unmeasured: str
    """What a reader might take it to show, and it does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart with what a reader needs who cannot see it."""

    svg: Markup
    alt: str
    """What is seen, with its numbers."""

    caption: str
    basis: Basis
    table: Table | None = None
    """Its numbers, folded away below it."""

    wide: bool = False
    """Whether it scrolls on a small screen, because it could not be read as small as that."""

    kind: str = "figure"


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """What was not measured, and how to have it measured."""

    what: str
    how: str
    of: str = ""
    """The backbone that lacks it, where it is one's alone."""

    label: str = "Not measured"
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
class Commands:
    """Command lines, each with what it is for; a click takes a whole one."""

    items: tuple[tuple[str, str], ...]
    where: str
    """From where they work."""

    kind: str = "commands"


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
    basis: Basis
    kind: str = "pictures"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Blocks under a heading of their own, beside a figure where there is room."""

    title: str
    blocks: tuple[Facts | Commands, ...]
    place: Literal["", "tall", "wide"] = ""
    """Tall: two others fit beside it. Wide: the whole width is its own."""

    kind: str = "card"


Block = Table | Figure | Missing | Prose | Facts | Code | Commands | Pictures | Card


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading with what belongs to it."""

    title: str
    anchor: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = ()
    color: str | None = None
    """Of a swatch before the title."""

    folded: str = ""
    """Title under which its sections are folded away; its blocks are not."""

    opened: bool = False
    """Whether what is folded is open at first."""


def all_blocks(sections: Sequence[Section]) -> Iterator[Block]:
    """Of sections and of those within them, in the page's order."""
    for section in sections:
        yield from section.blocks
        yield from all_blocks(section.sections)
