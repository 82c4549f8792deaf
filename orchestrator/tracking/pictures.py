"""Pictures of a run as MLflow's pages have them: a slider for each kind, a sample at each of its steps."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.evaluated import Evaluated
from orchestrator.tracking.metric import milliseconds
from orchestrator.tracking.store import Store, StoredRun

__all__ = ["log_pictures", "show_pictures", "slider_place"]

_NUMBERED: Final = re.compile(r"(?P<kind>.+)_(?P<place>\d+)")
_SHOWN_TAG: Final = "orchestrator.pictures"


def slider_place(name: str) -> tuple[str, int]:
    """Key and step of a picture: ``explanation_3`` is the fourth of ``explanation/samples``, others are alone.

    MLflow heads its charts with the first part of a key, and orders them by it.
    """
    numbered = _NUMBERED.fullmatch(name)
    return (f"pictures/{name}", 0) if numbered is None else (f"{numbered['kind']}/samples", int(numbered["place"]))


def log_pictures(store: Store, run: StoredRun, evaluated: Evaluated, timestamp_ms: int, *, again: bool = False) -> None:
    """Put pictures on a run, those that it does not have.

    MLflow keeps each under a random name, so what is there is looked up. One that was cut off halfway is put
    there again: its first half shows nothing.

    Args:
        again: whatever is there; of two pictures in one place MLflow shows that of the later time.
    """
    if not evaluated.captions:
        return
    there = set() if again else store.images(run)
    for name in evaluated.captions:
        place = slider_place(name)
        if place not in there:
            key, step = place
            store.log_image(run, evaluated.pictures / f"{name}.png", key=key, step=step, timestamp_ms=timestamp_ms)


def show_pictures(store: Store, run: StoredRun, evaluated: Evaluated) -> None:
    """Put the pictures of one of its confirmations on a backbone's summary run, so that backbones compare by them."""
    whose = str(evaluated.number)
    if run.tags.get(_SHOWN_TAG) != whose:
        log_pictures(store, run, evaluated, milliseconds(None), again=_SHOWN_TAG in run.tags)
        store.log(run, tags={_SHOWN_TAG: whose})
