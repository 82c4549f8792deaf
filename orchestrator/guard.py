"""What a running sweep must not go on without: its lease, and room on its disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from orchestrator.disk import low_water
from orchestrator.errors import EnvironmentUnusable
from orchestrator.lease import Lease

__all__ = ["LowWater", "require_lease"]

_EVERY_S: Final = 5.0


def require_lease(held: Lease) -> None:
    """
    Raises:
        EnvironmentUnusable: another driver took the lease over, as this one seemed dead to it.
    """
    if held.is_lost:
        raise EnvironmentUnusable(
            "a sweep has one driver at a time: this one gave no sign of life for long, and another took over"
        )


class LowWater:
    """Asks every few seconds whether the disk still has room to stop in good order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._due = 0.0

    def __call__(self) -> None:
        """
        Raises:
            EnvironmentUnusable: it has not.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _EVERY_S
        if reason := low_water(self._folder):
            raise EnvironmentUnusable(f"the sweep was stopped while it can still be recorded: {reason}")
