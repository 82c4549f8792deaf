"""Free room: for the sweep's records and checkpoints, for what is cached, and for Ray's own files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.doctor.finding import Finding, broken, ok, warning
from orchestrator.doctor.subject import Subject
from orchestrator.errors import EnvironmentUnusable, UsageError
from trainables.cores import num_cores

__all__ = ["disk", "ray_disk"]

_GIB: Final = 2**30
_FLOAT_BYTES: Final = 4
_RAY_FULL: Final = 0.95
"""Ray takes no more objects on a disk that is fuller."""


def disk(subject: Subject) -> Iterator[Finding]:
    """Whether the storage has room for the checkpoints of the largest trials, and the cache for what is expected."""
    from orchestrator.disk import require_space
    from orchestrator.stores import storage_folder
    from trainables.data.cache import LIMIT_VARIABLE, cache_limit

    fix = "free some, or choose a folder on another disk with --storage"
    try:
        folder = storage_folder(subject.config)
    except UsageError as error:
        yield broken("disk", str(error), fix)
        return
    trials = _trials_at_a_time(subject)
    needed = _needed_bytes(subject, trials)
    try:
        require_space(folder, needed, f"the checkpoints of {trials} trials at a time, and the networks that are kept,")
    except EnvironmentUnusable as error:
        yield broken("disk", str(error), fix)
        return
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    enough = f", and checkpoints and kept networks take about {needed / _GIB:.2g}" if needed else ""
    yield ok("disk", f"{free / _GIB:.3g} GiB free for {folder}{enough}")
    expected, limit = _expected_cache(subject), cache_limit()
    if expected > limit:
        text = f"{expected / _GIB:.3g} GiB of activations are expected, and the cache holds {limit / _GIB:.3g}"
        yield warning("disk", f"{text}: some are computed again", f"export {LIMIT_VARIABLE}={expected / _GIB + 1:.0f}")


def _trials_at_a_time(subject: Subject) -> int:
    """On this machine; on a cluster as many as this one would hold, as no node has been asked."""
    resources = subject.config.resources
    most = max(1, num_cores() // resources.cpus_per_trial)
    return most if resources.max_concurrent == "auto" else min(most, resources.max_concurrent)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Estimate:
    """Of a study whose backbone has not been built."""

    checkpoint_bytes: int
    model_bytes: int


def _needed_bytes(subject: Subject, trials: int) -> int:
    """Of backbones whose size is known without building them; 0 where no sweep is named."""
    from orchestrator.disk import sweep_bytes
    from trainables.catalog import lookup
    from trainables.checkpoint_file import checkpoint_bytes

    sweep = subject.sweep
    if sweep is None:
        return 0
    sizes = [lookup(name).num_params or 0 for name in sweep.backbones for _ in sweep.tasks]
    studies = [
        _Estimate(checkpoint_bytes=checkpoint_bytes(size, "adamw"), model_bytes=_FLOAT_BYTES * size) for size in sizes
    ]
    return sweep_bytes(studies, sweep.confirmation, trials)


def _expected_cache(subject: Subject) -> float:
    from orchestrator.planning.plan import plan

    return 0.0 if subject.sweep is None else plan(subject.sweep).cached_bytes_expected or 0.0


def ray_disk(subject: Subject) -> Iterator[Finding]:
    """Where a local Ray keeps its sockets, logs and what does not fit into memory."""
    folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp")
    usage = shutil.disk_usage(folder)
    text = f"{usage.free / _GIB:.3g} of {usage.total / _GIB:.3g} GiB free in {folder}"
    if usage.free < (1 - _RAY_FULL) * usage.total:
        yield warning(
            "Ray's disk", f"{text}: fuller than {_RAY_FULL:.0%}", "free some, or export RAY_TMPDIR=/a/short/path"
        )
    else:
        yield ok("Ray's disk", text)
