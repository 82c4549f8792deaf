"""Charts as SVG text that lives inside a page: small, the same to the byte each time, legible on light and dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["GRAY", "INK", "MARKERS", "SMALL", "WIDTH", "cased", "draw", "ink", "label"]

INK: Final = "#010203"
"""Drawn in the colour of the page's text, whichever that is."""

GRAY: Final = "#888888"
WIDTH: Final = 4.2
"""Inches: a phone's screen at the size the letters are drawn in."""

SMALL: Final = 8.2
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "d")
"""Beside colours, so that these are not needed to tell backbones apart."""

_STYLE: Final[dict[Any, Any]] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.unicode_minus": False,  # what is copied is a number
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.alpha": 0.35,
    "grid.color": GRAY,
    "grid.linewidth": 0.4,
    "legend.edgecolor": "none",
    "legend.facecolor": "none",
    "legend.fontsize": SMALL,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is a name
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
}

_METADATA: Final = {"Creator": None, "Date": None, "Format": None, "Type": None}
_LONGEST: Final = 24


def draw(name: str, plot: Callable[[Figure], None], *, height: float = 3.0, width: float = WIDTH) -> Markup:
    """The chart that `plot` puts on an empty figure, as an ``<svg>`` element.

    Args:
        name: leads the element's ids, which must be unique in a page.
        plot: draws; it may use `INK` as a colour.
        height: inches.
        width: inches.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    text = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Letters are the browser's to draw: this font is only measured.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Not through pyplot, which would keep every figure until it is closed.
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        canvas: Any = FigureCanvasSVG(figure)
        plot(figure)
        canvas.print_svg(text, metadata=_METADATA)  # `savefig` would draw everything twice
    return Markup(_embedded(text.getvalue(), name))


def ink(color: str) -> str:
    """A backbone's colour as it is drawn: black would not show on a dark page."""
    return INK if color == "#000000" else color


def cased(axes: Axes, x: Any, y: Any, color: str, *, width: float = 1.6, **look: Any) -> None:
    """A line with an edge in the text's colour: yellow would not show on white, nor a dark blue on black."""
    axes.plot(x, y, color=INK, linewidth=width + 1.0, alpha=0.55, zorder=1.9)
    axes.plot(x, y, color=ink(color), linewidth=width, markeredgecolor=INK, markeredgewidth=0.6, **look)


def label(text: str) -> str:
    """A name as charts have it: on one line and short. A leading underscore would hide it from a legend."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    plain = plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
    return f"\u200b{plain}" if plain.startswith("_") else plain


def _embedded(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0]), svg)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
    svg = re.sub(r">\s+<", "><", svg)
    svg = re.sub(r"^<svg[^>]*>", lambda head: _head(head[0]), svg)
    return svg.strip()


def _tag(tag: str) -> str:
    """One tag without what browsers do not need: digits beyond a hundredth of a point, fonts, addresses."""
    if tag.startswith("<image"):
        return tag.replace("xlink:href", "href")
    tag = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), tag)
    tag = re.sub(r"font(-family)?: ([\d.]+px )?'DejaVu Sans'[^;\"]*", lambda found: _font(found[2]), tag)
    tag = tag.replace(INK, "currentColor").replace("xlink:href", "href").replace("; ;", ";")
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    tag = re.sub(r"\s+", " ", tag)
    tag = re.sub(r' d="([^"]*)"', lambda found: f' d="{_path(found[1])}"', tag)
    return re.sub(r' style="([^"]*)"', lambda found: f' style="{_css(found[1])}"', tag)


def _path(data: str) -> str:
    return re.sub(r" ?([A-Za-z]) ?", r"\1", data)


def _css(style: str) -> str:
    return re.sub(r"([:;]) ", r"\1", style).strip("; ")


def _font(size: str | None) -> str:
    return f"font-size: {size.strip()}" if size else ""


def _head(tag: str) -> str:
    box = re.search(r'viewBox="[^"]*"', tag)
    assert box is not None  # matplotlib always writes one
    return f'<svg {box[0]} aria-hidden="true" focusable="false">'
