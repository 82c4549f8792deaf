"""What moving activations costs on this machine, measured once per process."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch

from trainables.activations.cost import Speeds
from trainables.data.cache import cache_dir
from trainables.data.mapped import read_only
from trainables.data.publishing import writable

__all__ = ["measured_speeds", "page_cache_bytes"]

_SAMPLE_BYTES: Final = 1 << 25
"""More than most caches of a processor hold."""

_BATCH: Final = 32
_PAGE_CACHE_SHARE: Final = 0.5
"""Of the memory available: the rest is for what trials hold."""


def measured_speeds(row_bytes: int, device: torch.device) -> Speeds:
    """Of rows of about `row_bytes`, in batches of 32, on the disk of the cache and to `device`.

    Takes a tenth of a second the first time, and some milliseconds for each further size.

    Raises:
        DataError: the cache cannot be written.
    """
    size = 1 << max(8, min((max(row_bytes, 1) - 1).bit_length(), _SAMPLE_BYTES.bit_length() - 3))
    mapping, write, disk, check = _file_speeds(cache_dir())
    return Speeds(read=_read_speed(mapping, size, str(device)), write=write, disk=disk, check=check)


def page_cache_bytes() -> float:
    """Memory in which files may be expected to stay."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        values = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":", 1) for line in lines)}
        available = float(values["MemAvailable"])
    except (OSError, KeyError, ValueError):
        available = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2
    return _PAGE_CACHE_SHARE * min(available, _limit_of_container())


def _limit_of_container() -> float:
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError):  # there is none, or it is "max"
        return float("inf")


@cache
def _file_speeds(folder: Path) -> tuple[mmap.mmap, float, float, float]:
    """A mapped file that has no name any more; and bytes per second written, read from the disk, and checked."""
    content = np.random.default_rng(0).integers(0, 256, _SAMPLE_BYTES, dtype=np.uint8)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            check = _seconds(lambda: zlib.crc32(content.data))

            def write() -> None:
                file.write(content.data)
                file.flush()
                os.fsync(file.fileno())

            written = check + _seconds(write)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            mapping = mmap.mmap(file.fileno(), _SAMPLE_BYTES, prot=mmap.PROT_READ)
            file.seek(0)
            loaded = _seconds(file.read)
    return mapping, _SAMPLE_BYTES / written, _SAMPLE_BYTES / loaded, _SAMPLE_BYTES / check


@cache
def _read_speed(mapping: mmap.mmap, row_bytes: int, device: str) -> float:
    rows = read_only(mapping, _SAMPLE_BYTES).view(torch.float32).view(-1, row_bytes // 4)
    rows.sum()  # maps its pages
    orders = torch.split(torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)), _BATCH)
    orders = orders[: max(2, (_SAMPLE_BYTES // 4) // (row_bytes * _BATCH))]

    def read() -> None:
        for index in orders:
            rows.index_select(0, index).to(device)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    read()
    return row_bytes * sum(map(len, orders)) / min(_seconds(read) for _ in range(2))


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return max(time.perf_counter() - started, 1e-9)
