"""Sweeps whose driver is killed again and again, each resumed at once until it has finished."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.chaos.invariants import Tally, differences, examine
from benchmarks.chaos.moments import Moment, in_order, moments, wait_for
from benchmarks.chaos.victim import Driver, Victim, WorkerKind
from orchestrator.config import sweep_from_mapping
from orchestrator.planning.plan import plan

__all__ = ["Killed", "kill_drivers", "small_sweep"]

BACKBONES = ("timm/test_vit@random", "timm/test_convnext@random")


def small_sweep(name: str = "small", **changes: Any) -> dict[str, Any]:
    """Two studies of eight trials and two confirmations, or what `changes` make of it."""
    return {
        "name": name,
        "tasks": [{"name": "digits", "num_train": 40, "num_val": 20, "num_test": 20, "image_size": 32}],
        "backbones": list(BACKBONES),
        "budget": {"trials": 8, "random_trials": 3, "max_epochs": 4},
        "confirmation": {"seeds": 2},
        "finetune": {"batch_size": 20},
        "resources": {"gpus_per_trial": 0, "max_concurrent": 2},
        "evaluation": None,
        **changes,
    }


@dataclass(kw_only=True)
class Killed:
    """What came of sweeps whose drivers were killed."""

    tally: Tally = field(default_factory=Tally)
    kills: Counter[str] = field(default_factory=Counter)
    """By the part of its life that a driver was in."""

    wall_s: float = 0.0

    def __iadd__(self, other: Killed) -> Killed:
        self.tally += other.tally
        self.kills += other.kills
        self.wall_s += other.wall_s
        return self


def kill_one(
    folder: Path,
    config: Mapping[str, Any],
    when: Sequence[Moment],
    *,
    worker: WorkerKind = "made_up",
    check: Callable[[Victim], None] = lambda victim: None,
) -> Killed:
    """One sweep: a driver for each moment, and one that may finish.

    Args:
        check: is called with what is left, before it is cleared away.
    """
    begun = time.monotonic()
    studies = plan(sweep_from_mapping(config)).studies
    totals = {"num_searched": sum(s.trials for s in studies), "num_runs": sum(s.runs for s in studies)}
    killed = Killed()
    with Victim(folder, config, worker=worker) as victim:
        for moment in in_order(when):
            driver = victim.resume()
            part = wait_for(moment, victim, driver, **totals)
            if part is None:
                _require_end(driver)
                break
            driver.kill()
            killed.kills[part] += 1
        driver = victim.resume()
        _require_end(driver)
        killed.tally += examine(victim)
        check(victim)
    killed.wall_s = time.monotonic() - begun
    return killed


def kill_drivers(
    num_kills: int,
    *,
    seed: int,
    per_sweep: int = 10,
    side_by_side: int = 2,
    worker: WorkerKind = "made_up",
    say: Callable[[str], None] = lambda words: None,
) -> Killed:
    """At least `num_kills` kills, over as many sweeps as they take.

    The first sweep runs one trial at a time, so that its every suggestion is defined by those before it, and must
    come out as one of the same seed that nobody touched. The others run two at a time.

    Args:
        seed: of the moments.
        per_sweep: kills of one sweep.
        side_by_side: sweeps at a time.
    """
    begun = time.monotonic()
    total = _Total(say)
    quota = _Quota(num_kills, seed)
    with tempfile.TemporaryDirectory(prefix="chaos") as name, ThreadPoolExecutor(side_by_side) as pool:
        lanes = [pool.submit(lambda: total.add(_one_at_a_time(Path(name), quota, per_sweep, worker)))]
        places = [Path(name) / str(lane) for lane in range(side_by_side)]
        lanes += [pool.submit(_lane, place, quota, per_sweep, worker, total) for place in places]
        for done in as_completed(lanes):
            done.result()
        _lane(Path(name) / "rest", quota, per_sweep, worker, total)
    total.killed.wall_s = time.monotonic() - begun
    return total.killed


class _Total:
    """Of the sweeps that have ended, told after each: hours of kills are not lost with the last one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.killed = Killed()
        self._say = say
        self._lock = threading.Lock()

    def add(self, killed: Killed) -> None:
        with self._lock:
            self.killed += killed
            tally = self.killed.tally
            self._say(
                f"{self.killed.kills.total()} kills {dict(self.killed.kills)} in {tally.sweeps} sweeps: {tally.runs} "
                f"runs, {tally.attempts} attempts, {tally.epochs_run} epochs run, {tally.epochs_unique} unique; "
                f"{tally.broken or 'nothing broken'}"
            )


class _Quota:
    """Moments that are still to be lived through, for several lanes."""

    def __init__(self, num_kills: int, seed: int) -> None:
        self._moments = moments(seed)
        self._left = num_kills
        self._lock = threading.Lock()

    def take(self, most: int) -> list[Moment]:
        with self._lock:
            num = min(most, self._left)
            self._left -= num
            return list(islice(self._moments, num))

    def give_back(self, num: int) -> None:
        """So many kills came too late, after the driver's own end."""
        with self._lock:
            self._left += num


def _lane(folder: Path, quota: _Quota, per_sweep: int, worker: WorkerKind, total: _Total) -> None:
    """One sweep after another, two trials at a time."""
    for number in count():
        if not (when := quota.take(per_sweep)):
            return
        place = folder / str(number)
        place.mkdir(parents=True)
        killed = kill_one(place, small_sweep(), when, worker=worker)
        quota.give_back(len(when) - killed.kills.total())
        total.add(killed)


def _one_at_a_time(folder: Path, quota: _Quota, per_sweep: int, worker: WorkerKind) -> Killed:
    """One sweep with one slot, beside one of the same seed whose driver is left alone."""
    when = quota.take(per_sweep)
    config = small_sweep(resources={"gpus_per_trial": 0, "max_concurrent": 1})
    places = folder / "untouched", folder / "one"
    for place in places:
        place.mkdir()
    different: list[str] = []
    with Victim(places[0], config, worker=worker) as untouched:
        _require_end(untouched.start())
        killed = kill_one(
            places[1],
            config,
            when,
            worker=worker,
            check=lambda victim: different.extend(differences(untouched.sweep, victim.sweep)),
        )
    quota.give_back(len(when) - killed.kills.total())
    if different:
        killed.tally.broken.append(f"not the sweep that nobody touched: {different[:5]}")
    return killed


def _require_end(driver: Driver) -> None:
    """
    Raises:
        AssertionError: it ended other than by finishing its sweep.
    """
    if (code := driver.wait()) != 0:
        raise AssertionError(f"a driver ended with {code}:\n{driver.err}")
