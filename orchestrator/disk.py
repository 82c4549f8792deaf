"""Whether a disk has room: for a whole sweep before it starts, and for its clean end while it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from orchestrator.config import Confirmation
from orchestrator.errors import EnvironmentUnusable

__all__ = ["low_water", "require_space", "reserve_bytes", "sweep_bytes"]

MIB: Final = 2**20

_LEAST_RESERVE: Final = 200 * MIB
_MOST_RESERVE: Final = 2048 * MIB
_MIN_FILES: Final = 200
"""Files that may still be made: a file system without free inodes refuses them, whatever room it has."""


def reserve_bytes(total_bytes: int) -> int:
    """What must stay free on a disk of `total_bytes` for a sweep to stop in good order.

    Stopping writes the ranking, the report and its figures, the last rows of the records and what MLflow has not
    yet taken: some ten megabytes, next to checkpoints that are being written meanwhile. 200 MiB holds these; one
    per cent of a large disk, but at most 2 GiB, leaves other programs on it something, too. A small disk or quota
    must stay usable at all: there a tenth of it is kept.
    """
    return min(max(_LEAST_RESERVE, total_bytes // 100), _MOST_RESERVE, total_bytes // 10)


class Written(Protocol):
    """What the runs of a study leave on a disk."""

    @property
    def checkpoint_bytes(self) -> int:
        """Of one run, while it is under way."""

    @property
    def model_bytes(self) -> int:
        """Of its network."""


def sweep_bytes(studies: Sequence[Written], confirmation: Confirmation, num_slots: int) -> int:
    """An estimate of the most that a sweep has on its disk at once, beside its records.

    Args:
        num_slots: runs at a time.
    """
    checkpoints = num_slots * max(study.checkpoint_bytes for study in studies)
    # Networks of confirmations that end together, and MLflow's copy of the one that stays.
    copies = min(confirmation.seeds, num_slots) + 1 if confirmation.keep_model else 0
    return checkpoints + copies * sum(study.model_bytes for study in studies)


def require_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse to begin what the disk of `folder` does not hold, the reserve left alone.

    Args:
        folder: need not exist yet.
        needed_bytes: an estimate, >= 0.
        what: names the estimate: ``the checkpoints of 4 trials at a time``.

    Raises:
        EnvironmentUnusable: estimate and reserve exceed what is free, or the disk cannot be looked at.
    """
    try:
        disk = os.statvfs(_there(folder))
    except OSError as error:
        raise EnvironmentUnusable(f"the disk of {folder} must be readable: {error.strerror}") from error
    free, reserve = _free(disk), reserve_bytes(_total(disk))
    if free < needed_bytes + reserve:
        raise EnvironmentUnusable(
            f"{what} take an estimated {_size(needed_bytes)} in {folder}, and {_size(reserve)} are kept in reserve: "
            f"{_size(free)} of {_size(_total(disk))} are free; free {_size(needed_bytes + reserve - free)}, or choose "
            "another --storage"
        )


def low_water(folder: Path) -> str | None:
    """Why a running sweep that writes to `folder` should stop now, while it still can in good order; else None.

    Cheap enough for every epoch: it asks the file system once and reads nothing.
    """
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return f"the storage {folder} can no longer be reached: {error.strerror}"
    if disk.f_flag & os.ST_RDONLY:
        return f"the storage {folder} has become read-only"
    free, reserve = _free(disk), reserve_bytes(_total(disk))
    if free < reserve:
        return f"{_size(free)} are free for {folder}, fewer than the {_size(reserve)} kept in reserve"
    # File systems that make inodes as they need them count none.
    if disk.f_files and disk.f_favail < _MIN_FILES:
        return f"the disk of {folder} has room for {disk.f_favail} more files, fewer than the {_MIN_FILES} in reserve"
    return None


def _there(folder: Path) -> Path:
    """The nearest folder above that exists; the root does."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _free(disk: os.statvfs_result) -> int:
    """For those who are not root, for whom a file system keeps a part."""
    return disk.f_bavail * disk.f_frsize


def _total(disk: os.statvfs_result) -> int:
    return disk.f_blocks * disk.f_frsize


def _size(num_bytes: int) -> str:
    return f"{num_bytes / MIB:,.1f} MiB" if num_bytes < 1024 * MIB else f"{num_bytes / 2**30:,.1f} GiB"
