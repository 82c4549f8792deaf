"""Pictures of a run as MLflow's pages have them: a slider for each kind, a sample at each of its steps."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.evaluated import Evaluated
from orchestrator.tracking.store import Store, StoredRun

__all__ = ["log_pictures", "slider_place"]

_NUMBERED: Final = re.compile(r"(?P<kind>.+)_(?P<place>\d+)")


def slider_place(name: str) -> tuple[str, int]:
    """Kind and step of a picture: ``explanation_3`` is the fourth of ``explanation``, others are alone."""
    numbered = _NUMBERED.fullmatch(name)
    return (name, 0) if numbered is None else (numbered["kind"], int(numbered["place"]))


def log_pictures(store: Store, run: StoredRun, evaluated: Evaluated, timestamp_ms: int) -> None:
    """Put pictures on a run, those that it does not have.

    MLflow keeps each under a random name, so what is there is looked up. One that was cut off halfway is put
    there again: its first half shows nothing.
    """
    if not evaluated.captions:
        return
    there = store.images(run)
    for name in evaluated.captions:
        place = slider_place(name)
        if place not in there:
            key, step = place
            store.log_image(run, evaluated.pictures / f"{name}.png", key=key, step=step, timestamp_ms=timestamp_ms)
