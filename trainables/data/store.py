"""Decode once: images resized as a checkpoint wants them, memory-mapped from Arrow ever after."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from trainables.data.source import Source
from trainables.errors import DataError

__all__ = ["cache_dir", "decoded"]

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SHOWN = 20

_VERSION = 1
"""Of how images are decoded; part of every file's name, so that a change of it reads no old pixels."""


def cache_dir() -> Path:
    """``$ORCHESTRATOR_CACHE``, else ``$XDG_CACHE_HOME/orchestrator``, else ``~/.cache/orchestrator``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("ORCHESTRATOR_CACHE") or Path(base) / "orchestrator")


def decoded(source: Source, side: int, crop_frac: float, interpolation: str) -> tuple[Tensor, str]:
    """All images of `source` as uint8, shape (n, 3, side, side), and the sha256 of their content.

    The shorter side is resized to ``side / crop_frac`` and the central square kept; a framed source is
    resized to ``side`` and nothing cropped. The first caller decodes, under a lock and into a temporary
    name; the tensor is a read-only view of the file.

    Raises:
        DataError: images that cannot be read, all named.
    """
    crop_frac = 1.0 if source.framed else crop_frac
    recipe = f"{_VERSION}-{source.key}-{side}-{crop_frac:.4f}-{interpolation}"
    path = cache_dir() / "images" / f"{hashlib.sha256(recipe.encode()).hexdigest()[:24]}.arrow"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                _write(path, source, side, crop_frac, interpolation)
    return _read(path, side)


def _write(path: Path, source: Source, side: int, crop_frac: float, interpolation: str) -> None:
    num, width = len(source.names), 3 * side * side
    with _scratch(path) as folder:
        # A file-backed array: a dataset larger than memory is decoded all the same.
        pixels = np.memmap(folder / "pixels", dtype=np.uint8, mode="w+", shape=(num, width))
        unreadable = []
        for index in range(num):
            try:
                image = source.load(index)
            except ValueError as error:
                unreadable.append(f"{source.names[index]}: {error}")
                continue
            square = _square(image, side, crop_frac, _RESAMPLING[interpolation])
            pixels[index] = np.asarray(square).transpose(2, 0, 1).reshape(-1)
        if unreadable:
            shown = "\n  ".join(unreadable[:_SHOWN])
            more = f"\n  and {len(unreadable) - _SHOWN} more" if len(unreadable) > _SHOWN else ""
            raise DataError(f"{len(unreadable)} of {num} images cannot be read:\n  {shown}{more}")
        column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), num, [None, pa.py_buffer(pixels)])
        digest = hashlib.sha256(pixels.data).hexdigest()
        schema = pa.schema([pa.field("image", column.type)], metadata={"sha256": digest})
        temporary = folder / "table"
        with pa.ipc.new_file(str(temporary), schema) as writer:
            writer.write_batch(pa.record_batch([column], schema=schema))
        os.replace(temporary, path)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder for the one writer of `path`. Its name is fixed, so what a killed one left is removed."""
    folder = path.with_suffix(".writing")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _square(image: Image.Image, side: int, crop_frac: float, resampling: Image.Resampling) -> Image.Image:
    """Shorter side to ``side / crop_frac``, central square of `side`; only what is kept is computed."""
    shorter = round(side / crop_frac)
    # The crop as a box in the original: a panorama of 20,000 x 1 pixels would otherwise be blown up to
    # gigabytes of which one square is kept.
    (left, right), (top, bottom) = (_crop(length, length * shorter // min(image.size), side) for length in image.size)
    return image.resize((side, side), resampling, box=(left, top, right, bottom))


def _crop(length: int, resized: int, side: int) -> tuple[float, float]:
    """Where, in the original, the central `side` pixels of `length` resized to `resized` begin and end.

    Rounded as torchvision's ``Resize`` and ``CenterCrop``, which the checkpoints were published with.
    """
    start = round((resized - side) / 2)
    return start * length / resized, min(length, (start + side) * length / resized)


def _read(path: Path, side: int) -> tuple[Tensor, str]:
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    column = table.column("image").chunk(0)
    pixels = np.frombuffer(column.buffers()[1], dtype=np.uint8, count=len(column) * 3 * side * side)
    with warnings.catch_warnings():
        # Read-only on purpose: batches are gathered by copy, nobody writes into the mapping.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images = torch.from_numpy(pixels).reshape(-1, 3, side, side)
    return images, table.schema.metadata[b"sha256"].decode()
