"""One colour per backbone, the same in every chart and every sweep that lists it at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["PALETTE", "colors"]

PALETTE: Final = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#D55E00",  # vermillion
    "#56B4E9",  # sky blue
    "#F0E442",  # yellow
    "#000000",  # black
)
"""Okabe and Ito's colours, told apart with any colour vision; the ones that are easiest on white first."""


def colors(backbones: Sequence[str]) -> dict[str, str]:
    """A colour for each backbone, by its place. From the ninth on, the colours come again, darker."""
    return {name: _nth(place) for place, name in enumerate(backbones)}


def _nth(place: int) -> str:
    turn, index = divmod(place, len(PALETTE) - 1 if place >= len(PALETTE) else len(PALETTE))
    color = PALETTE[index]
    keep = 0.65**turn
    return "#" + "".join(f"{round(int(color[i : i + 2], 16) * keep):02X}" for i in (1, 3, 5))
