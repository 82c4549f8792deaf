"""Scores as people say them."""

from __future__ import annotations

from typing import Final

__all__ = ["fraction", "metric_name", "points", "score_text"]

_METRICS: Final = {"r2": "R²", "f1_macro": "macro F1"}


def points(value: float | None) -> str:
    """``91.3`` for 0.913."""
    return "-" if value is None else f"{100 * value:z.1f}"


def fraction(value: float | None) -> str:
    """``0.913``."""
    return "-" if value is None else f"{value:.3f}"


def score_text(value: float | None, metric: str | None) -> str:
    """In points of 100; an R² as the fraction that people say."""
    return fraction(value) if metric == "r2" else points(value)


def metric_name(metric: str | None) -> str:
    """Of a column of scores; ``score`` where it is not known."""
    return "score" if metric is None else _METRICS.get(metric, metric)
