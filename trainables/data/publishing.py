"""Files of the cache appear whole or not at all, written by one process and read by many."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from filelock import FileLock, Timeout

from trainables.data.cache import remove_abandoned
from trainables.errors import DataError

__all__ = ["published", "writable"]

_POLL_S: Final = 5.0

_log = logging.getLogger(__name__)

T = TypeVar("T")


def published(
    path: Path,
    read: Callable[[], T | None],
    write: Callable[[Path], Path],
    *,
    is_stale: Callable[[T], bool] = lambda found: False,
    patience_s: float | None = None,
) -> T:
    """What `read` makes of `path`, written before by the first process that asks for it.

    Args:
        path: of the file, ``*.arrow`` in a folder of the cache.
        read: gives None where there is no file, or a damaged one.
        write: writes the file somewhere in the (scratch) folder it is given and says where.
        is_stale: whether what was found must be written again.
        patience_s: how long to wait for another writer that writes nothing; None is for ever. A writer that
            dies is never waited for: its lock goes with it.

    Raises:
        DataError: the file cannot be written, or another writer has lost this one's patience.
    """
    found = read()
    if found is not None and not is_stale(found):
        return found
    with _only_writer(path, patience_s):
        found = read()  # by the writer that was waited for
        if found is None or is_stale(found):
            if path.exists():
                _log.warning("%s is %s and written again", path, "damaged" if found is None else "out of date")
                with writable(path):
                    path.unlink()
            remove_abandoned()
            with _scratch(path) as scratch:
                _publish(write(scratch), path)
            found = read()
    if found is None:
        raise DataError(f"{path} cannot be read back after it was written; is its disk damaged?")
    return found


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn an error of writing `path` into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the cache file {path} cannot be written: {error}; free some of its disk, or point ORCHESTRATOR_CACHE "
            "to a folder that can be written"
        ) from error


def _publish(temporary: Path, path: Path) -> None:
    with writable(path):
        # On the disk before it has its name: a power cut must not leave the name with half of the content.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def _only_writer(path: Path, patience_s: float | None) -> Iterator[None]:
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.info("waiting for the process that encodes %s", path)
            _wait(lock, path, patience_s)
    try:
        yield
    finally:
        lock.release()


def _wait(lock: FileLock, path: Path, patience_s: float | None) -> None:
    if patience_s is None:
        lock.acquire()
        return
    seen, since = _progress(path), time.monotonic()
    while True:
        try:
            lock.acquire(timeout=min(_POLL_S, patience_s))
        except Timeout:
            now = _progress(path)
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > patience_s:
                raise DataError(
                    f"the process that writes {path} holds its lock and has written nothing for {patience_s:g} s; "
                    "end it if it hangs"
                ) from None
        else:
            return


def _progress(path: Path) -> frozenset[tuple[str, int, int]]:
    """Something that changes while the writer of `path` writes."""
    stats = []
    for file in _scratch_folder(path).glob("*"):
        try:
            stat = file.stat()
        except FileNotFoundError:  # published just now
            continue
        stats.append((file.name, stat.st_size, stat.st_mtime_ns))
    return frozenset(stats)


def _scratch_folder(path: Path) -> Path:
    """Of the one writer of `path`. The name is fixed, so that what a killed one left is found."""
    return path.with_suffix(".writing")


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    folder = _scratch_folder(path)
    with writable(path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
