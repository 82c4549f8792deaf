"""A curve in one line of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from rich.console import Console

__all__ = ["marker", "sparkline"]

MAX_WIDTH: Final = 60
"""Characters of a line; longer curves are averaged over neighbours."""

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.,-=+*#"


def sparkline(values: Sequence[float | None], console: Console) -> str:
    """One character per value, the lowest at the bottom; a gap where there is none.

    Block characters where the console's encoding has them, else ASCII of the same eight heights.
    """
    levels = _ASCII if console.options.ascii_only else _BLOCKS
    means = [_mean(values[start:stop]) for start, stop in _shares(len(values))]
    known = [mean for mean in means if mean is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    # A curve that does not move is drawn in the middle: neither end of the scale would be true of it.
    top = len(levels) - 1
    return "".join(
        " " if mean is None else levels[round((mean - low) / (high - low) * top) if high > low else top // 2]
        for mean in means
    )


def marker(place: int, num_values: int, sign: str) -> str:
    """A line to stand below a sparkline, with `sign` under the value at `place`, counted from 0."""
    shares = _shares(num_values)
    return " " * next(at for at, (_, stop) in enumerate(shares) if place < stop) + sign


def _shares(num_values: int) -> list[tuple[int, int]]:
    """From where to where each character tells of the values."""
    width = min(num_values, MAX_WIDTH)
    ends = [round(at * num_values / width) for at in range(width + 1)]
    return list(pairwise(ends))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
