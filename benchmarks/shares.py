"""Which trial held the machine, when several run at a time and slots stand empty while workers start."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from typing import TypeVar

__all__ = ["shares"]

K = TypeVar("K", bound=Hashable)


def shares(spans: Mapping[K, tuple[float, float]], slots: int) -> dict[K, float]:
    """Seconds of wall that each trial took of the machine.

    Each moment is shared equally by the trials that run in it and, where slots are empty, by those that start next:
    a slot is empty because somebody's worker is being started. But what the first worker of each slot takes to start
    is nobody's: a sweep pays for it once, however many trials it has.

    Args:
        spans: start and end of each trial.
        slots: trials at a time. More may run, where some are trained together.
    """
    in_order = sorted(spans, key=lambda trial: spans[trial])
    moments = sorted({moment for span in spans.values() for moment in span})
    held = dict.fromkeys(in_order, 0.0)
    for begin, end in itertools.pairwise(moments):
        running = [trial for trial in in_order if spans[trial][0] <= begin and spans[trial][1] >= end]
        coming = [trial for trial in in_order if spans[trial][0] >= end][: max(0, slots - len(running))]
        holders = [*running, *(trial for trial in coming if trial not in in_order[:slots])]
        for trial in holders:
            held[trial] += (end - begin) / len(holders)
    return held
