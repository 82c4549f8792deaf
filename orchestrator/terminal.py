"""What stderr can do, and what a person wants to see there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "is_live"]

Progress = Literal["auto", "live", "lines", "jsonl", "none"]


def is_live(console: Console) -> bool:
    """Whether `console` is a terminal that can redraw what it shows.

    CI runners set ``FORCE_COLOR`` to have colours in their logs: that alone makes no terminal of them.
    """
    return console.is_interactive and not console.is_dumb_terminal and console.file.isatty()
