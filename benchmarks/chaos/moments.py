"""When a driver is killed: drawn from a seed, over all of its life."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.chaos.victim import Driver, Victim

__all__ = ["Moment", "Part", "in_order", "moments", "wait_for"]

Part = Literal["starting", "searching", "confirming", "ranking"]

_SHARE: dict[Part, float] = {"starting": 1.0, "searching": 0.1, "confirming": 0.1, "ranking": 0.5}
"""The longest delay of each part, as a share of the time from a driver's start to its first row: on a busy machine
all of it takes longer."""

_POLL_S = 0.03


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Some time after a driver's start, or after the rows of so many more ended runs."""

    part: Part
    num_rows: int = 0
    """In ``searching`` and ``confirming``: more than there were when the driver started."""

    delay: float
    """As a share of the time that drivers of this sweep have taken to their first row."""


def moments(seed: int) -> Iterator[Moment]:
    """Without end. Every part of a life is drawn; delays are uniform over about what the part takes.

    ``starting`` begins with the process, before there is any sweep; ``searching`` with the row of an ended run,
    0 to 3 after the life's first one; ``confirming`` with the last search trial's row; ``ranking`` with the last
    row of all, when records are complete and MLflow, ranking and report are not.
    """
    generator = random.Random(seed)
    while True:
        part: Part = generator.choices(("starting", "searching", "confirming", "ranking"), (4, 10, 3, 3))[0]
        yield Moment(part=part, num_rows=generator.randint(1, 3), delay=generator.uniform(0, _SHARE[part]))


def in_order(when: Sequence[Moment]) -> list[Moment]:
    """As a sweep comes to them: what has been ranked is not searched again. Starts are among all of them."""
    place = {"searching": 0.0, "confirming": 1.0, "ranking": 2.0}
    return sorted(when, key=lambda moment: place.get(moment.part, 2 * moment.delay))


def wait_for(moment: Moment, victim: Victim, driver: Driver, *, num_searched: int, num_runs: int) -> Part | None:
    """Wait until it has come. A part that the sweep has left behind is taken for the one it is in.

    Args:
        num_searched: trials that the sweep's plan has.
        num_runs: all its runs.

    Returns:
        The part in which the driver is now; None if it ended by itself.
    """
    before, began = victim.num_rows, time.monotonic()
    wanted = {
        "starting": 0,
        "searching": min(before + moment.num_rows, num_runs),
        "confirming": min(max(num_searched, before) + moment.num_rows - 1, num_runs),
        "ranking": num_runs,
    }[moment.part]
    reached = False
    while moment.part != "starting" and victim.num_rows < wanted and driver.is_alive:
        time.sleep(_POLL_S)
        if victim.num_rows > before and not reached:
            reached = True
            victim.first_row_s = time.monotonic() - began
    until = time.monotonic() + moment.delay * victim.first_row_s
    while time.monotonic() < until and driver.is_alive:
        time.sleep(_POLL_S)
    if not driver.is_alive:
        return None
    if moment.part == "starting" and victim.num_rows == before:
        return "starting"
    rows = victim.num_rows
    return "ranking" if rows >= num_runs else "confirming" if rows >= num_searched else "searching"
