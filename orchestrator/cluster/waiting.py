"""Watches a cluster while trials run: whether they stand still for want of a node, and which nodes join."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ray.tune import Callback
from ray.tune.experiment import Trial

from orchestrator.cluster.capacity import Patience

__all__ = ["Waiting"]

_LOOK_EVERY_S: Final = 1.0


class Waiting(Callback):  # type: ignore[misc]  # ray ships no types
    """Looks once a second whether trials wait and none runs.

    Args:
        patience: says so.
        others: are called as often.
    """

    def __init__(self, patience: Patience, *others: Callable[[], None]) -> None:
        self._patience = patience
        self._others = others
        self._looked = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        states = {trial.status for trial in trials}
        self._patience.look(waiting=Trial.PENDING in states and Trial.RUNNING not in states)
        for look in self._others:
            look()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles a Tuner's parts for a restore that is never made."""
        return {}
