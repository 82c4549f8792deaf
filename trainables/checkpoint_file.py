"""The files that keep a run between its epochs: safetensors with a checksum over every byte (no torch).

A file is `<epoch>-<attempt>.safetensors`. Its metadata hold one JSON text with everything that is not a tensor,
and the CRC-32 of the whole file, which is computed as it is written.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from trainables.config import EpochMetrics, Optimizer

__all__ = [
    "CheckpointFile",
    "DamagedCheckpoint",
    "Entry",
    "Saved",
    "checkpoint_bytes",
    "checkpoint_files",
    "read_checkpoint",
    "read_values",
    "write_checkpoint",
]

FORMAT: Final = 1
_SUFFIX: Final = ".safetensors"
_NAME: Final = re.compile(r"(?P<epoch>\d{5,})-(?P<attempt>[1-9]\d*)\.safetensors")
_UNFINISHED: Final = re.compile(r"\.\d{5,}-(?P<attempt>[1-9]\d*)\.tmp")

_VALUES: Final = "values"
_START: Final = b'{"__metadata__":{"crc32":"'
_CRC: Final = slice(len(_START), len(_START) + 8)
"""Where its eight digits stand in the header; zeros while it is computed."""

_LENGTH: Final = 8
"""Bytes of the number that a safetensors file begins with: of its header."""

_MOST_HEADER: Final = 100_000_000
"""Bytes of a header that safetensors reads."""

_CHUNK: Final = 2**22

NUM_KEPT: Final = 2
_MOMENTS: Final[Mapping[Optimizer, int]] = {"adamw": 2, "adam": 2, "sgd": 1}


class DamagedCheckpoint(ValueError):
    """A file that is not what was written; the message says how that shows."""


class CheckpointFile(NamedTuple):
    """Later ones are greater: an attempt begins from what an earlier one has left, and has the last word."""

    attempt: int
    epoch: int
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """What is known of a run from its newest whole checkpoint, without its tensors."""

    epoch: int
    attempt: int
    epochs: tuple[EpochMetrics, ...]
    """All up to `epoch`."""

    facts: dict[str, Any]
    """Whatever its caller wanted to find again."""


class Entry(NamedTuple):
    """A tensor in the header of a file."""

    dtype: str
    """As safetensors calls it."""

    shape: tuple[int, ...]
    num_bytes: int


def read_checkpoint(folder: Path) -> Saved | None:
    """What the newest whole file of `folder` says; None where there is none, or no folder."""
    for file in checkpoint_files(folder):
        try:
            values = read_values(file.path)
            return Saved(
                epoch=file.epoch,
                attempt=file.attempt,
                epochs=tuple(EpochMetrics(**epoch) for epoch in values["epochs"]),
                facts=values["facts"],
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def checkpoint_bytes(num_params_trainable: int, optimizer: Optimizer) -> int:
    """How much disk the checkpoints of one run take at most, about: those kept and the one being written.

    Weights now and at the best epoch and the optimizer's moments, all of float32, 3 % for what has no gradient
    (running statistics) and a quarter of a MiB for names and numbers.
    """
    tensors = 4 * num_params_trainable * (2 + _MOMENTS[optimizer])
    return (NUM_KEPT + 1) * (tensors + tensors // 33 + 2**18)


def checkpoint_files(folder: Path) -> list[CheckpointFile]:
    """Those of `folder` by their names, newest first; none where it cannot be read."""
    try:
        found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except OSError:
        return []
    return sorted((CheckpointFile(int(m["attempt"]), int(m["epoch"]), path) for m, path in found), reverse=True)


def read_values(path: Path) -> dict[str, Any]:
    """The JSON text of a file that is as it was written, to the last byte.

    Raises:
        OSError: it cannot be read.
        DamagedCheckpoint: it is cut off, changed, or of another format.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(_LENGTH)
        length = int.from_bytes(prefix, "little")
        if not len(_START) < length <= min(size - _LENGTH, _MOST_HEADER):
            raise DamagedCheckpoint(f"its header is cut off or overwritten, of {size} bytes in all")
        header = file.read(length)
        if not header.startswith(_START):
            raise DamagedCheckpoint("it does not begin as a checkpoint does")
        crc = zlib.crc32(prefix + _with_crc(header, 0))
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    if header[_CRC] != _digits(crc):
        raise DamagedCheckpoint(f"cut off or changed: the checksum of its {size} bytes is wrong")
    values: dict[str, Any] = json.loads(json.loads(header)["__metadata__"][_VALUES])
    if values["format"] != FORMAT:
        raise DamagedCheckpoint(f"its format is {values['format']} and not {FORMAT}")
    return values


def write_checkpoint(
    folder: Path,
    values: Mapping[str, Any],
    entries: Mapping[str, Entry],
    contents: Iterable[memoryview],
    *,
    epoch: int,
    attempt: int,
) -> None:
    """Write a file whole or not at all, then remove those that are not needed any more.

    Nothing is forced to the disk: a loss of power may leave the newest file torn, which its checksum shows, and
    the one before it was written an epoch earlier. What it costs is an epoch, not a wrong result, and waiting
    for the disk would cost every epoch of every run more than that. A process that is killed tears nothing: what
    it has written is the system's.

    Args:
        values: of what JSON takes; becomes the text.
        contents: the bytes of `entries`, in their order.

    Raises:
        OSError: the folder cannot be written. Earlier files are still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder, attempt)
    path = folder / f"{epoch:05d}-{attempt}{_SUFFIX}"
    temporary = folder / f".{path.stem}.tmp"
    header = _header({**values, "format": FORMAT}, entries)
    prefix = len(header).to_bytes(_LENGTH, "little")
    crc = zlib.crc32(prefix + header)
    try:
        with temporary.open("wb") as file:
            file.write(prefix + header)
            for content in contents:
                crc = zlib.crc32(content, crc)
                file.write(content)
            file.seek(_LENGTH)
            file.write(_with_crc(header, crc)[: _CRC.stop])
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _remove_old(folder, CheckpointFile(attempt, epoch, path))


def _header(values: Mapping[str, Any], entries: Mapping[str, Entry]) -> bytes:
    """As safetensors wants it, with zeros for the checksum, and padded so that the tensors are aligned."""
    header: dict[str, Any] = {"__metadata__": {"crc32": "0" * 8, _VALUES: json.dumps(values)}}
    end = 0
    for name, entry in entries.items():
        begin, end = end, end + entry.num_bytes
        header[name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _digits(crc: int) -> bytes:
    return b"%08x" % crc


def _with_crc(header: bytes, crc: int) -> bytes:
    return header[: _CRC.start] + _digits(crc) + header[_CRC.stop :]


def _remove_old(folder: Path, newest: CheckpointFile) -> None:
    """Keep the newest file and the one it goes on from, as far as names tell: the last one of an earlier epoch.

    One of the same epoch or a later one was damaged, or this would not have gone on from before it. Those of a
    later attempt are none of ours: another process has taken over.
    """
    others = [file for file in checkpoint_files(folder) if file.attempt <= newest.attempt and file != newest]
    kept = next((file for file in others if file.epoch < newest.epoch), None)
    for file in others:
        if file != kept:
            file.path.unlink(missing_ok=True)


def _remove_unfinished(folder: Path, attempt: int) -> None:
    """What a killed process has left, this attempt's or an earlier one's."""
    for path in folder.iterdir():
        if (match := _UNFINISHED.fullmatch(path.name)) and int(match["attempt"]) <= attempt:
            path.unlink(missing_ok=True)
