"""Encode once: columns written whole or not at all, by one process, and memory-mapped ever after."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock, Timeout

from trainables.data.cache import cache_dir, make_room, remove_abandoned, touch
from trainables.errors import DataError

__all__ = ["Content", "Growing", "Stored", "stored"]

_FINGERPRINT: Final = "fingerprint"
_ALIGNMENT: Final = 1 << 16
"""Bytes that headers and padding of an Arrow file may take beyond its columns, generously."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Encoded samples as columns, row by row those of the source."""

    columns: dict[str, pa.Array]
    fingerprints: npt.NDArray[np.uint64]
    """Of each sample before it was encoded; 0 of an unreadable one."""

    unreadable: tuple[tuple[int, str], ...]
    """Row and reason of each sample that could not be read."""

    num_cut: int = 0
    """How many samples were longer than what is kept of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Content as it is mapped from its file."""

    content: Content
    digest: str
    """sha256 of the columns."""


def stored(
    kind: str,
    recipe: str,
    num_rows: int,
    write: Callable[[Path], Content],
    *,
    num_bytes: int = 0,
    is_stale: Callable[[Content], bool] = lambda content: False,
) -> Stored:
    """The file of `recipe`, written by the first process that asks for it.

    Args:
        kind: folder of the cache: ``images``, ``text`` or ``audio``.
        recipe: everything that decides the content.
        num_rows: a file of another number of rows is damaged and written again.
        write: makes the content in the (scratch) folder it is given, which may back its columns.
        num_bytes: of the content where known beforehand: room is made before anything is encoded.
        is_stale: whether a file found must be written again.

    Raises:
        DataError: the cache's limit or its disk has no room, or cannot be written.
    """
    path = cache_dir() / kind / f"{hashlib.sha256(recipe.encode()).hexdigest()[:24]}.arrow"
    found = _read(path, num_rows)
    if found is not None and not is_stale(found.content):
        return found
    with _only_writer(path):
        found = _read(path, num_rows)  # by the writer that was waited for
        if found is None or is_stale(found.content):
            if path.exists():
                _log.warning("%s is %s and written again", path, "damaged" if found is None else "out of date")
                with _writable(path):
                    path.unlink()
            remove_abandoned()
            with _scratch(path) as scratch:
                # Twice: the columns lie in scratch files until the table is written from them.
                make_room(num_bytes, on_disk=2 * num_bytes)
                _write(path, scratch / "table", write(scratch))
            found = _read(path, num_rows)
    if found is None:
        raise DataError(f"{path} cannot be read back after it was written; is its disk damaged?")
    return found


class Growing:
    """A scratch file that arrays are appended to, and then an Arrow buffer mapped from it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.num_bytes = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Raises DataError when the disk is full."""
        with _writable(self._path):
            # A plain write, not a mapping: a full disk is an error here and would be SIGBUS there.
            self._file.write(np.ascontiguousarray(values).data)
        self.num_bytes += values.nbytes

    def buffer(self) -> pa.Buffer:
        """What was appended; nothing can be appended any more."""
        with _writable(self._path):
            self._file.close()
        return pa.memory_map(str(self._path)).read_buffer() if self.num_bytes else pa.py_buffer(b"")

    def __enter__(self) -> Growing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _write(path: Path, temporary: Path, content: Content) -> None:
    size = sum(column.nbytes for column in content.columns.values()) + content.fingerprints.nbytes + _ALIGNMENT
    make_room(size, on_disk=size)
    metadata = {
        "sha256": _digest(content.columns),
        "unreadable": json.dumps(content.unreadable),
        "num_cut": str(content.num_cut),
    }
    columns = {**content.columns, _FINGERPRINT: pa.array(content.fingerprints)}
    schema = pa.schema([pa.field(name, column.type) for name, column in columns.items()], metadata=metadata)
    with _writable(path):
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
        # On the disk before it has its name: a power cut must not leave the name with half of the content.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


def _digest(columns: dict[str, pa.Array]) -> str:
    digest = hashlib.sha256()
    for column in columns.values():
        for buffer in column.buffers():
            if buffer is not None:
                digest.update(buffer)
    return digest.hexdigest()


def _read(path: Path, num_rows: int) -> Stored | None:
    """What `path` holds; None where it is missing, damaged, or of another number of rows."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        metadata = table.schema.metadata
        content = Content(
            columns={name: table.column(name).chunk(0) for name in table.column_names if name != _FINGERPRINT},
            fingerprints=table.column(_FINGERPRINT).chunk(0).to_numpy(),
            unreadable=tuple((row, reason) for row, reason in json.loads(metadata[b"unreadable"])),
            num_cut=int(metadata[b"num_cut"]),
        )
        found = Stored(content=content, digest=metadata[b"sha256"].decode())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, IndexError):
        return None
    if table.num_rows != num_rows:
        return None
    touch(path)
    return found


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.info("waiting for the process that encodes %s", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder for the one writer of `path`. Its name is fixed, so what a killed one left is removed."""
    folder = path.with_suffix(".writing")
    with _writable(path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the cache file {path} cannot be written: {error}; free some of its disk, or point ORCHESTRATOR_CACHE "
            "to a folder that can be written"
        ) from error
