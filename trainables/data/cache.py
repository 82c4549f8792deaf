"""Where encoded data are kept, and how much of them."""

from __future__ import annotations

import math
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from trainables.errors import DataError, InvalidConfig

__all__ = ["bytes_in_use", "cache_dir", "cache_limit", "make_room", "remove_abandoned", "touch"]

LIMIT_VARIABLE: Final = "ORCHESTRATOR_CACHE_MAX_GIB"
GIB: Final = 2**30

_DEFAULT_GIB: Final = 50.0
_FREE_SHARE: Final = 0.2
_IN_USE_S: Final = 3600.0
"""A file opened within the last hour is taken to be in use: evicting it would only have it written again."""


def cache_dir() -> Path:
    """``$ORCHESTRATOR_CACHE``, else ``$XDG_CACHE_HOME/orchestrator``, else ``~/.cache/orchestrator``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("ORCHESTRATOR_CACHE") or Path(base) / "orchestrator")


def cache_limit() -> float:
    """Bytes that the cache may hold; see `make_room`.

    Raises:
        InvalidConfig: ``$ORCHESTRATOR_CACHE_MAX_GIB`` is not a number above 0.
    """
    folder = cache_dir()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return _limit(shutil.disk_usage(there).free + sum(file.size for file in _files(folder)))


def touch(path: Path) -> None:
    """Say that a file was used now. Many file systems record no reads, so its time of change does."""
    with suppress(OSError):  # a shared cache that may only be read
        os.utime(path)


def make_room(num_bytes: int, *, on_disk: int) -> None:
    """Evict the files longest unused until one of `num_bytes` fits the limit and `on_disk` bytes are free.

    The limit is ``$ORCHESTRATOR_CACHE_MAX_GIB``, else 50 GiB or, where that is less, a fifth of what an empty
    cache would leave free on the disk. It counts every ``*/*.arrow`` under `cache_dir()`. Files opened within
    the last hour stay. Processes that have mapped an evicted file keep reading it: its name is gone, not
    its content.

    Raises:
        DataError: the files in use leave too little of the limit or of the disk; nothing is evicted then.
        InvalidConfig: the variable is not a number above 0.
    """
    folder = cache_dir()
    files = sorted(_files(folder), key=lambda file: file.used)
    spare = [file for file in files if time.time() - file.used > _IN_USE_S]
    held, evictable = sum(file.size for file in files), sum(file.size for file in spare)
    free = shutil.disk_usage(folder).free
    limit = _limit(free + held)
    if held - evictable + num_bytes > limit:
        raise DataError(
            f"the cache {folder} may hold {_gib(limit)}, of which {_gib(held - evictable)} were used within the last "
            f"hour, and {_gib(num_bytes)} more are needed; set {LIMIT_VARIABLE} to at least "
            f"{math.ceil((held - evictable + num_bytes) / GIB)}, or use smaller images or fewer samples"
        )
    if free + evictable < on_disk:
        raise DataError(
            f"encoding needs {_gib(on_disk)} on the disk of {folder}, {_gib(free)} are free; free some, or point "
            "ORCHESTRATOR_CACHE to another disk"
        )
    for file in spare:
        if held + num_bytes <= limit and shutil.disk_usage(folder).free >= on_disk:
            return
        file.path.unlink(missing_ok=True)
        held -= file.size


def bytes_in_use(*, besides: Path) -> int:
    """Of all files opened within the last hour, but one."""
    now = time.time()
    return sum(f.size for f in _files(cache_dir()) if f.path != besides and now - f.used <= _IN_USE_S)


def remove_abandoned() -> None:
    """Remove what writers left that were killed, wherever their lock is free."""
    for scratch in cache_dir().glob("*/*.writing"):
        with suppress(Timeout, OSError), FileLock(f"{scratch.with_suffix('.arrow')}.lock", timeout=0):
            shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    size: int
    used: float


def _files(folder: Path) -> list[_File]:
    found = []
    for path in folder.glob("*/*.arrow"):
        with suppress(FileNotFoundError):  # another process evicts as well
            stat = path.stat()
            found.append(_File(path, stat.st_size, stat.st_mtime))
    return found


def _limit(free: int) -> float:
    """In bytes, for a disk with `free` bytes when the cache is empty."""
    text = os.environ.get(LIMIT_VARIABLE)
    if not text:
        return min(_DEFAULT_GIB * GIB, _FREE_SHARE * free)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise InvalidConfig(f"{LIMIT_VARIABLE} must be a number of GiB above 0, got {text!r}")
    return limit * GIB


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / GIB:.3g} GiB"
