"""Encode once: columns written whole or not at all, by one process, and memory-mapped ever after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainables.data.cache import cache_dir, make_room, touch
from trainables.data.publishing import published, writable

__all__ = ["Content", "Growing", "Stored", "stored"]

_FINGERPRINT: Final = "fingerprint"
_ALIGNMENT: Final = 1 << 16
"""Bytes that headers and padding of an Arrow file may take beyond its columns, generously."""


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

    def make(scratch: Path) -> Path:
        # Twice: the columns lie in scratch files until the table is written from them.
        make_room(num_bytes, on_disk=2 * num_bytes)
        return _write(scratch / "table", write(scratch))

    return published(path, lambda: _read(path, num_rows), make, is_stale=lambda found: is_stale(found.content))


class Growing:
    """A scratch file that arrays are appended to, and then an Arrow buffer mapped from it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.num_bytes = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Raises DataError when the disk is full."""
        with writable(self._path):
            # A plain write, not a mapping: a full disk is an error here and would be SIGBUS there.
            self._file.write(np.ascontiguousarray(values).data)
        self.num_bytes += values.nbytes

    def buffer(self) -> pa.Buffer:
        """What was appended; nothing can be appended any more."""
        with writable(self._path):
            self._file.close()
        return pa.memory_map(str(self._path)).read_buffer() if self.num_bytes else pa.py_buffer(b"")

    def __enter__(self) -> Growing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _write(path: Path, content: Content) -> Path:
    size = sum(column.nbytes for column in content.columns.values()) + content.fingerprints.nbytes + _ALIGNMENT
    make_room(size, on_disk=size)
    metadata = {
        "sha256": _digest(content.columns),
        "unreadable": json.dumps(content.unreadable),
        "num_cut": str(content.num_cut),
    }
    columns = {**content.columns, _FINGERPRINT: pa.array(content.fingerprints)}
    schema = pa.schema([pa.field(name, column.type) for name, column in columns.items()], metadata=metadata)
    with writable(path), pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
    return path


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
