"""How numbers are written in the report. What is not known is a dash, and nothing is ever "nan".

Whoever copies a table into a spreadsheet gets the numbers: every character is ASCII's, and nothing looks like a
date, as ``1-3`` and ``2/8`` do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator.ranking.verdict import listed

__all__ = [
    "DASH",
    "Scale",
    "count",
    "frozen",
    "listed",
    "number",
    "percent",
    "plural",
    "points",
    "rate",
    "scale",
    "seconds",
    "shortened",
    "span",
]

DASH: Final = "-"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def points(fraction: float | None) -> str:
    """``91.3`` for 0.913."""
    return f"{100 * fraction:z.1f}" if fraction is not None and _known(fraction) else DASH


def percent(fraction: float | None) -> str:
    """``12 %`` for 0.12; certainty is only claimed for 0 and 1 themselves."""
    if fraction is None or not _known(fraction):
        return DASH
    if 0 < fraction < 0.01:
        return "< 1 %"
    if 0.99 < fraction < 1:
        return "> 99 %"
    return f"{100 * fraction:.0f} %"


def number(value: float | None) -> str:
    """Three significant digits, and whole numbers in full up to a million."""
    if value is None or not _known(value):
        return DASH
    if abs(value) < 1e6 and (value == round(value) or abs(value) >= 100):
        return f"{value:.0f}"
    return f"{value:.3g}"


def count(value: float | None) -> str:
    """``2.24 M`` for 2236682."""
    if value is None or not _known(value):
        return DASH
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return number(value)


def seconds(value: float | None) -> str:
    """``0.41 ms``, ``12.3 s``, ``4 min 10 s``, ``2 h 05 min``."""
    if value is None or not _known(value):
        return DASH
    if 0 < value < 1:
        return f"{1000 * value:.3g} ms"
    if value < 100:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def rate(value: float | None) -> str:
    """A learning rate; a dash where nothing had it."""
    return f"{value:.1e}" if value is not None and _known(value) else DASH


def span(low: int | None, high: int | None) -> str:
    """``1 to 3`` for ranks that cannot be told apart."""
    if low is None:
        return DASH
    return str(low) if low == high else f"{low} to {high}"


def frozen(freeze_depth: int | None, tune_stop: int | None, num_blocks: int | None) -> str:
    """``2 of 8`` leading blocks; ``2 of 8, and from 5 on`` where a window alone is tuned."""
    if freeze_depth is None or tune_stop is None or num_blocks is None:
        return DASH
    rest = f", and from {tune_stop} on" if tune_stop < num_blocks else ""
    return f"{freeze_depth} of {num_blocks}{rest}"


def plural(num: int, what: str) -> str:
    """``1 trial``, ``12 trials``."""
    return f"{num} {what}{'s' * (num != 1)}"


def shortened(text: str, length: int) -> str:
    """At most `length` characters, cut at the end."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How a task's metric is said: in points of 100, an R² as the fraction people say."""

    name: str
    factor: float
    text: Callable[[float | None], str]

    @property
    def label(self) -> str:
        """Of an axis."""
        return self.name if self.factor == 1 else f"{self.name}, points"


def scale(metric: str | None) -> Scale:
    """Of a task's main metric."""
    if metric == "r2":
        return Scale(name="R²", factor=1.0, text=lambda v: f"{v:.3f}" if v is not None and _known(v) else DASH)
    names = {"accuracy": "accuracy", "f1_macro": "macro F1"}
    return Scale(name=names.get(metric or "", metric or "score"), factor=100.0, text=points)
