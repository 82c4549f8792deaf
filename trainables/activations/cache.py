"""Open the activations behind the frozen blocks: find them, or decide whether to compute and store them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trainables.activations.boundary import Boundary, Cost
from trainables.activations.chain import Chain
from trainables.activations.cost import ASSUMED, Speeds, pays_opening, read_seconds, worth_caching
from trainables.activations.file import Table
from trainables.activations.layout import NotCacheable
from trainables.activations.reading import Activations
from trainables.activations.residency import Opened
from trainables.activations.speed import measured_speeds, page_cache_bytes
from trainables.data.cache import bytes_in_use, make_room, touch
from trainables.data.publishing import published
from trainables.errors import DataError
from trainables.execution import Execution

__all__ = ["Activations", "Chain", "forget", "open_activations"]

_PATIENCE_S: Final = 600.0
"""How long another process may compute one batch before it is no longer waited for."""

_FRAME_BYTES: Final = 1 << 16
"""Of a file beside its columns."""

_ROW_BYTES: Final = 16
"""Per sample, beside what crosses the boundary: its position, and where its tokens start."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Process:
    """What this process has learnt."""

    opened: Opened = field(default_factory=Opened)
    impossible: set[str] = field(default_factory=set)
    """Recipes of which no file can be made."""

    costs: dict[str, Cost] = field(default_factory=dict)
    """By recipe."""

    cannot_write: bool = False
    """Whether writing failed, which is said once: no more is tried."""

    has_told_of_room: bool = False


_process = _Process()


def forget() -> None:
    """Let go of everything this process holds: mappings, copies on the GPU, measured costs, and that it could not
    write."""
    global _process
    _process = _Process()


def open_activations(chain: Chain, depth: int, *, execution: Execution, num_passes: float) -> Activations | None:
    """What crosses boundary `depth` of every sample, or None where it shall be computed every time.

    Found in this process or on the disk, else computed and stored where `execution` wants it: ``always``, or where
    it pays by what forward pass, reading and writing were measured to cost here. A process that finds another one
    writing the file waits for it. One that cannot write says so once and goes on without.

    Args:
        chain: the frozen blocks.
        depth: of the boundary, in [0, number of frozen blocks].
        execution: whether and in which dtype to cache.
        num_passes: how often every sample is expected to be asked for, by all runs that share the boundary.
    """
    if execution.activation_cache == "off" or depth == 0 or chain.num_samples == 0:
        return None
    boundary = Boundary(chain=chain, depth=depth, dtype=execution.activation_dtype)
    always, path = execution.activation_cache == "always", boundary.path
    opened = _process.opened.get(path, chain.device)
    if opened is not None:
        touch(path)
        return opened
    if boundary.recipe in _process.impossible:
        return None
    try:
        if not always and not _pays(boundary, num_passes):
            return None
        table = _published(boundary)
    except NotCacheable as reason:
        _process.impossible.add(boundary.recipe)
        _log.log(
            logging.WARNING if always else logging.INFO,
            "what crosses boundary %d cannot be cached and is computed every time: %s",
            depth,
            reason,
        )
        return None
    return None if table is None else _process.opened.add(path, chain.device, table)


def _pays(boundary: Boundary, num_passes: float) -> bool:
    """Whether reading the file is faster, if need be after writing it."""
    table = boundary.read(check=False)
    if table is not None:
        speeds = _speeds(boundary, table.num_bytes)
        return pays_opening(
            forward_s=table.header.forward_s,
            read_s=read_seconds(table.num_bytes, speeds, page_cache_bytes=_page_cache_bytes(boundary)),
            check_s=table.num_bytes / speeds.check,
            num_passes=num_passes,
        )
    if _process.cannot_write:
        return False
    cost = _cost(boundary)
    return worth_caching(
        forward_s=cost.forward_s,
        num_bytes=cost.num_bytes,
        num_passes=num_passes,
        speeds=_speeds(boundary, cost.num_bytes),
        page_cache_bytes=_page_cache_bytes(boundary),
    )


def _page_cache_bytes(boundary: Boundary) -> float:
    return page_cache_bytes() - bytes_in_use(besides=boundary.path)


def _speeds(boundary: Boundary, num_bytes: int) -> Speeds:
    if not _process.cannot_write:
        try:
            return measured_speeds(num_bytes // boundary.chain.num_samples, boundary.chain.device)
        except DataError as error:
            _turn_off(error)
    return ASSUMED  # files of other processes can still be read


def _cost(boundary: Boundary) -> Cost:
    if boundary.recipe not in _process.costs:
        _process.costs[boundary.recipe] = boundary.measure()
    return _process.costs[boundary.recipe]


def _published(boundary: Boundary) -> Table | None:
    """The file, written first where there is none; None where that fails, which is said once."""
    if _process.cannot_write:
        return boundary.read(check=True)
    own: list[Path] = []

    def write(scratch: Path) -> Path:
        cost = _cost(boundary)
        size = cost.num_bytes + _ROW_BYTES * boundary.chain.num_samples + _FRAME_BYTES
        try:
            make_room(size, on_disk=size)
        except DataError as error:
            raise _NoRoom(str(error)) from error
        _log.info("storing what crosses boundary %d, about %d MiB, in %s", boundary.depth, size >> 20, boundary.path)
        own.append(scratch / "table")
        boundary.write(own[0], cost.layout)
        return own[0]

    try:
        # What this process wrote it need not check.
        return published(boundary.path, lambda: boundary.read(check=not own), write, patience_s=_PATIENCE_S)
    except _NoRoom as error:
        if not _process.has_told_of_room:
            _process.has_told_of_room = True
            _log.warning("activations too large for the cache are computed every time: %s", error)
    except DataError as error:
        _turn_off(error)
    return None


class _NoRoom(Exception):
    """A file is larger than what the cache or its disk can still hold; a smaller one may fit."""


def _turn_off(error: DataError) -> None:
    _process.cannot_write = True
    _log.warning("this process stores no activations any more and computes them every time: %s", error)
