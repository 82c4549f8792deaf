"""One training-free score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ScreenName", "ScreenScore"]

ScreenName = Literal["log_me", "leep", "h_score", "knn", "num_params"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScreenScore:
    """What a backbone scores on a task before anything is trained. Higher promises more; only scores of one
    name on one task compare."""

    name: ScreenName

    value: float
    """Not a number where the score does not apply."""

    duration_s: float
    """Wall seconds, those for the features included; 0 where nothing had to be computed."""

    note: str = ""
    """Why the score does not apply; empty where it does."""
