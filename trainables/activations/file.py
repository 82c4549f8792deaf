"""One Arrow file of activations: written straight to its place while they are computed, and mapped.

A column per part, contiguous over all samples, so that a batch is gathered by one copy per sample and no file is
written twice. Arrow's writer wants all of a column at once; so it is asked only for what is around the columns, and
their content is written where it left room.
"""

from __future__ import annotations

import io
import mmap
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from trainables.activations.header import Header
from trainables.activations.layout import NotCacheable
from trainables.activations.states import lengths_of, require_like
from trainables.data.mapped import read_only
from trainables.data.publishing import writable
from trainables.preprocessing import State

__all__ = ["Table", "Writer", "read_table"]

_POSITION: Final = "position"
_TOKENS: Final = "tokens"
_OFFSETS: Final = "tokens.offsets"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A file of activations, mapped."""

    header: Header
    num_bytes: int
    row_of: Tensor | None
    """Where each position of the split is in the columns, int64 (n,); None where it is at its own number."""

    rows: dict[int, Tensor]
    """Of each part of one size per sample: shape (n, numel), as stored."""

    tokens: Tensor | None
    """All tokens, one after the other, with all parts of each side by side: uint8 (total, bytes)."""

    offsets: Tensor | None
    """Tokens of row i are those from ``offsets[i]`` to ``offsets[i + 1] - 1``: int64 (n + 1,)."""


class Writer:
    """Writes one file, batch by batch.

    Raises:
        DataError: the disk is full, or cannot be written.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._header = header
        layout = header.layout
        self._widths = {f"part{k}": part.num_bytes for k, part in layout.of_kind("rows").items()}
        self._has_tokens = bool(layout.of_kind("tokens"))
        self._positions: list[npt.NDArray[np.int64]] = []
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._checksums = dict.fromkeys([*self._widths, *([_TOKENS] if self._has_tokens else [])], 0)
        self._written = dict.fromkeys(self._checksums, 0)
        self._starts = self._frame(None, np.zeros(header.num_rows, dtype=np.int64), num_bytes=1)
        with writable(path):
            self._file = path.open("wb", buffering=0)

    def append(self, positions: Tensor, state: State) -> None:
        """Write the next batch.

        Raises:
            DataError: the disk is full.
            NotCacheable: the batch is not as the header describes it, or cannot be rounded.
        """
        layout = self._header.layout
        parts = require_like(layout, state)
        if len(parts[0]) != len(positions):
            raise NotCacheable(f"a batch of {len(positions)} samples gave {len(parts[0])}")
        for k, part in layout.of_kind("rows").items():
            self._write(f"part{k}", _exact(part.rows(parts[k]), parts[k], k))
        lengths = lengths_of(layout, parts)
        if lengths is not None:
            mask = next(parts[k] for k in layout.of_kind("mask"))
            tokens = [
                _exact(part.tokens(parts[k][:, : mask.shape[1]], mask), parts[k], k)
                for k, part in layout.of_kind("tokens").items()
            ]
            self._write(_TOKENS, torch.cat([_bytes(part) for part in tokens], dim=1))
            self._lengths.append(lengths.cpu().numpy())
        self._positions.append(positions.cpu().numpy())

    def close(self, forward_s: float) -> None:
        """Write what is around the columns: the file is whole after it."""
        if not np.array_equal(np.sort(np.concatenate(self._positions)), np.arange(self._header.num_rows)):
            raise NotCacheable("its batches are not every sample of the split once")
        self._header = replace(self._header, forward_s=forward_s)
        lengths = np.concatenate(self._lengths) if self._lengths else np.zeros(0, dtype=np.int64)
        with writable(self._path):
            starts = self._frame(self._file.fileno(), lengths, num_bytes=self._written.get(_TOKENS, 0))
            self._file.close()
        if starts != self._starts:
            raise AssertionError(f"Arrow laid {self._path} out in two ways: {starts} and {self._starts}")

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write(self, column: str, values: Tensor) -> None:
        content = _bytes(values).numpy().reshape(-1).data
        self._checksums[column] = zlib.crc32(content, self._checksums[column])
        with writable(self._path):
            _put(self._file.fileno(), content, self._starts[column] + self._written[column])
        self._written[column] += len(content)

    def _frame(self, descriptor: int | None, lengths: npt.NDArray[np.int64], *, num_bytes: int) -> dict[str, int]:
        """Write all but the columns' content, if there is a file yet; where in it each column starts."""
        num_rows = self._header.num_rows
        positions = np.concatenate(self._positions) if self._positions else np.zeros(num_rows, dtype=np.int64)
        columns = {_POSITION: pa.array(positions, pa.int64())}
        checksums = {_POSITION: zlib.crc32(positions.tobytes()), **self._checksums}
        holes = {}
        for name, width in self._widths.items():
            holes[name] = _hole(num_rows * width)
            columns[name] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), num_rows, [None, holes[name]])
        if self._has_tokens:
            offsets = np.concatenate([[0], lengths.cumsum()]) * self._header.layout.token_bytes
            offsets[-1] = num_bytes
            holes[_TOKENS] = _hole(num_bytes)
            buffers = [None, pa.py_buffer(offsets), holes[_TOKENS]]
            columns[_TOKENS] = pa.LargeBinaryArray.from_buffers(pa.large_binary(), num_rows, buffers)
            checksums[_OFFSETS] = zlib.crc32(offsets.tobytes())
        header = replace(self._header, checksums=checksums)
        schema = pa.schema(
            [pa.field(name, column.type) for name, column in columns.items()],
            metadata=header.to_metadata(sorted(checksums)),
        )
        sink = _Around(descriptor, {hole.address: name for name, hole in holes.items()})
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), schema) as writer:
            writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
        return sink.starts


def read_table(path: Path, recipe: str, num_rows: int, *, check: bool) -> Table | None:
    """What `path` holds; None where it is missing, damaged, or not of `recipe`.

    Args:
        check: compare the content with its checksums, at 2 to 4 GB/s. The header always is.
    """
    try:
        mapping = pa.memory_map(str(path)).read_buffer()
        batches = pa.ipc.open_file(pa.BufferReader(mapping))
        header = Header.from_metadata(batches.schema.metadata)
        if header.recipe != recipe or header.num_rows != num_rows or batches.num_record_batches != 1:
            return None
        columns = batches.get_batch(0)
        buffers = {name: columns.column(name).buffers()[1] for name in columns.schema.names}
        if _TOKENS in buffers:
            buffers[_OFFSETS], buffers[_TOKENS] = columns.column(_TOKENS).buffers()[1:]
        if check and any(zlib.crc32(buffers[name]) != crc for name, crc in header.checksums.items()):
            return None
        return _table(header, buffers, len(mapping))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return None


def _table(header: Header, buffers: dict[str, pa.Buffer], num_bytes: int) -> Table:
    num = header.num_rows
    position = np.frombuffer(buffers[_POSITION], dtype=np.int64, count=num)
    rows = {
        k: read_only(buffers[f"part{k}"], num * part.num_bytes).view(part.stored).view(num, part.numel)
        for k, part in header.layout.of_kind("rows").items()
    }
    tokens = offsets = None
    if _TOKENS in buffers:
        width = header.layout.token_bytes
        offsets = torch.from_numpy(np.frombuffer(buffers[_OFFSETS], dtype=np.int64, count=num + 1) // width)
        tokens = read_only(buffers[_TOKENS], int(offsets[-1]) * width).view(-1, width)
    is_ordered = bool((position == np.arange(num)).all())
    return Table(
        header=header,
        num_bytes=num_bytes,
        row_of=None if is_ordered else torch.from_numpy(np.argsort(position)),
        rows=rows,
        tokens=tokens,
        offsets=offsets,
    )


class _Around(io.RawIOBase):
    """Takes what Arrow writes, leaves out what stands for the columns' content, and remembers where that belongs."""

    def __init__(self, descriptor: int | None, holes: dict[int, str]) -> None:
        self._descriptor = descriptor
        self._holes = holes
        self._at = 0
        self.starts: dict[str, int] = {}

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any, /) -> int:
        content = memoryview(data)
        if isinstance(data, pa.Buffer) and data.address in self._holes:
            self.starts[self._holes[data.address]] = self._at
        elif self._descriptor is not None:
            _put(self._descriptor, content, self._at)
        self._at += content.nbytes
        return content.nbytes


def _put(descriptor: int, content: memoryview, offset: int) -> None:
    # Plain writes, not a mapping: a full disk is an error here and would be SIGBUS there.
    while content:
        done = os.pwrite(descriptor, content, offset)
        content, offset = content[done:], offset + done


def _hole(num_bytes: int) -> pa.Buffer:
    """A buffer of zeros that takes no memory."""
    return pa.py_buffer(mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))


def _bytes(values: Tensor) -> Tensor:
    """uint8, shape (rows, bytes)."""
    return values.view(torch.uint8)


def _exact(stored: Tensor, computed: Tensor, number: int) -> Tensor:
    """`stored`, unless rounding made numbers infinite that were not."""
    if stored.dtype != computed.dtype and bool(computed.isfinite().all()) and not bool(stored.isfinite().all()):
        raise NotCacheable(f"part {number} has numbers too large for {stored.dtype}")
    return stored
