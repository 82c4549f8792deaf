"""When classes count as balanced, so that accuracy says what people take it for. Needs no torch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = ["BALANCED_UP_TO", "is_balanced"]

BALANCED_UP_TO: Final = 1.5
"""Largest over smallest class: beyond that macro F1 is the main metric."""


def is_balanced(counts: Collection[int]) -> bool:
    """Whether samples are spread evenly over classes, by their counts."""
    return max(counts) <= BALANCED_UP_TO * min(counts)
