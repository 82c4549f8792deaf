"""One boundary of one chain: its file, what it costs, and how it is computed."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from trainables.activations.chain import Chain
from trainables.activations.file import Table, Writer, read_table
from trainables.activations.header import Header
from trainables.activations.layout import Layout
from trainables.activations.reading import Activations
from trainables.activations.states import describe, lengths_of
from trainables.data.cache import cache_dir
from trainables.execution import ActivationDtype
from trainables.preprocessing import State, parts_of

__all__ = ["Boundary", "Cost"]

_ROUNDING: Final[dict[ActivationDtype, torch.dtype | None]] = {
    "exact": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

_TIMED: Final = 32
"""Samples whose forward pass is timed, where that is at most a sixteenth of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one pass over a split, as measured on some of its samples."""

    layout: Layout
    forward_s: float
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """What crosses the chain behind `depth` blocks."""

    chain: Chain
    depth: int
    dtype: ActivationDtype

    @property
    def recipe(self) -> str:
        return json.dumps([self.chain.keys[self.depth], self.dtype])

    @property
    def path(self) -> Path:
        return cache_dir() / "activations" / f"{hashlib.sha256(self.recipe.encode()).hexdigest()[:24]}.arrow"

    def read(self, *, check: bool) -> Table | None:
        """See `read_table`."""
        return read_table(self.path, self.recipe, self.chain.num_samples, check=check)

    @torch.no_grad()
    def measure(self) -> Cost:
        """Describe and time it. Raises NotCacheable where it cannot be kept."""
        layout = describe(self.chain, self.depth, _ROUNDING[self.dtype])
        middle = self.chain.batches[len(self.chain.batches) // 2]
        positions = middle[: max(1, min(_TIMED, self.chain.num_samples // 16))]
        times = []
        for _ in range(2):  # the first may also choose kernels and warm caches
            started = time.perf_counter()
            state = self._compute(positions, None)
            times.append(time.perf_counter() - started)
        lengths = lengths_of(layout, parts_of(state))
        tokens = 0.0 if lengths is None else float(lengths.double().mean())
        return Cost(
            layout=layout,
            forward_s=min(times) / len(positions) * self.chain.num_samples,
            num_bytes=round((layout.row_bytes + layout.token_bytes * tokens) * self.chain.num_samples),
        )

    @torch.no_grad()
    def write(self, path: Path, layout: Layout) -> None:
        """Compute all samples from the nearest shallower boundary on disk, or from the inputs, and store them.

        Raises:
            DataError: the disk is full, or cannot be written.
            NotCacheable: a batch is not what the others let expect.
        """
        header = Header(recipe=self.recipe, num_rows=self.chain.num_samples, layout=layout)
        source = self._shallower()
        seconds = 0.0 if source is None else source[1].header.forward_s
        with Writer(path, header) as writer:
            for positions in self.chain.batches:
                started = time.perf_counter()
                state = self._compute(positions, source)
                seconds += time.perf_counter() - started
                writer.append(positions, state)
            writer.close(seconds)

    def _shallower(self) -> tuple[int, Table] | None:
        """The nearest boundary before this one that is on disk.

        Never a rounded one: what a file holds would depend on which others there were when it was written.
        """
        if self.dtype != "exact":
            return None
        for depth in range(self.depth - 1, 0, -1):
            table = replace(self, depth=depth).read(check=True)
            if table is not None:
                return depth, table
        return None

    def _compute(self, positions: Tensor, source: tuple[int, Table] | None) -> State:
        if source is None:
            state = self.chain.run(self.chain.inputs(positions), 0, self.depth)
        else:
            depth, table = source
            state = self.chain.run(Activations(table, self.chain.device).batch(positions), depth, self.depth)
        if self.chain.device.type == "cuda":
            torch.cuda.synchronize(self.chain.device)
        return state
