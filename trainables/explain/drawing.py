"""Figures as small PNG files, without a display and without matplotlib's global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "png"]

_DPI: Final = 100

_COLOURS: Final = 64
"""Of the palette: six bits per pixel at the most, so that the area of a figure bounds its bytes."""


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of a size in inches; matplotlib is loaded here and not before."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(made)
    with warnings.catch_warnings():
        # Of letters that its font lacks, which are drawn as boxes, and of axes too small to lay out.
        warnings.simplefilter("ignore", UserWarning)
        yield made


def png(made: Figure) -> bytes:
    """The figure as a PNG of 64 colours, at most 0.75 bytes per pixel and little more."""
    plain = io.BytesIO()
    made.savefig(plain, format="png")
    small = io.BytesIO()
    with Image.open(plain) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return small.getvalue()
