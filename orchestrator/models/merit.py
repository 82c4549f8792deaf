"""Which of a study's networks is kept: the worker removes by this rule, and the driver chooses by it."""

from __future__ import annotations

__all__ = ["merit"]


def merit(val_score: float, number: int) -> tuple[float, int]:
    """Orders confirmations: the best on validation, of equals the first. Test scores have no say, so that the kept
    network's own is as honest as any."""
    return val_score, -number
