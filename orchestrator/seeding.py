"""Seeds of a sweep's runs: the same in every study, and in a sweep of another seed all others."""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["CONFIRMATIONS_FROM", "trial_seed"]

CONFIRMATIONS_FROM: Final = 1_000_000
"""Confirmations are seeded as if they were search trials from here on: with no search trial's seed."""


def trial_seed(seed: int, ordinal: int) -> int:
    """Of the search trial of that place, in every study alike.

    Hashed: with their sum, sweeps of neighbouring seeds would share all draws but one, and their results would
    pass for independent ones.

    Args:
        seed: of the sweep.
    """
    text = f"{seed}:{ordinal}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
