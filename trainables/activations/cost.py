"""When a cache of activations pays: a rule over seconds and bytes, without torch, so that a plan can ask it too.

A pass without the cache costs one forward pass through the frozen blocks. With it, the first costs that and the
writing, and all cost the reading. Computing again is the safe side, so reading and writing are counted a quarter
dearer than they were measured: what only just pays is not done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["ASSUMED", "MARGIN", "Speeds", "pays", "pays_opening", "read_seconds", "worth_caching"]

MARGIN: Final = 1.25
"""What reading and writing are counted at, of what they were measured to cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speeds:
    """What moving activations costs, in bytes per second."""

    read: float
    """Gathering batches out of a mapped file that is in memory, and moving them to the device."""

    write: float
    """Writing a file, checksums and waiting for the disk included."""

    disk: float
    """Reading what is not in memory."""

    check: float
    """Comparing a file with its checksums."""


ASSUMED: Final = Speeds(read=1.5e9, write=0.4e9, disk=0.5e9, check=2e9)
"""Of a machine that nobody has measured: one core, and a disk as clouds rent them out."""


def read_seconds(num_bytes: float, speeds: Speeds, *, page_cache_bytes: float = math.inf) -> float:
    """One pass over a file of `num_bytes`, of which the disk is read where memory cannot keep it.

    A file that does not fit is counted as if nothing of it stayed: a pass in random order finds little.
    """
    from_disk = num_bytes / speeds.disk if num_bytes > page_cache_bytes else 0.0
    return num_bytes / speeds.read + from_disk


def pays(*, forward_s: float, read_s: float, write_s: float, num_passes: float) -> bool:
    """Whether `num_passes` passes are faster with a cache that has to be written first.

    Args:
        forward_s: of one pass over all samples through the frozen blocks, in seconds.
        read_s: of one pass of reading them.
        write_s: of writing once, beside the forward pass that it takes.
        num_passes: how often every sample is asked for, by all runs that share the file.
    """
    return num_passes * (forward_s - MARGIN * read_s) > forward_s + MARGIN * write_s


def pays_opening(*, forward_s: float, read_s: float, check_s: float, num_passes: float) -> bool:
    """Whether `num_passes` passes are faster with a file that is there and has to be checked first."""
    return num_passes * (forward_s - MARGIN * read_s) > MARGIN * check_s


def worth_caching(
    *,
    forward_s: float,
    num_bytes: float,
    num_passes: float,
    speeds: Speeds = ASSUMED,
    page_cache_bytes: float = math.inf,
) -> bool:
    """Whether activations of `num_bytes` shall be cached; see `pays`."""
    read_s = read_seconds(num_bytes, speeds, page_cache_bytes=page_cache_bytes)
    return pays(forward_s=forward_s, read_s=read_s, write_s=num_bytes / speeds.write, num_passes=num_passes)
