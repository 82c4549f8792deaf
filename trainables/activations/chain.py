"""What the cache needs to know of a backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.preprocessing import State

__all__ = ["Chain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """The frozen leading blocks of one backbone on one device, as functions over one split."""

    keys: tuple[str, ...]
    """``keys[k]`` names everything that decides what crosses boundary `k`, behind `k` blocks: the weights of
    those, preprocessing, encoded data, rows of the split, precision, kind of device. k is in [0, depth]."""

    inputs: Callable[[Tensor], State]
    """Positions in the split, int64 (batch,), to what enters block 0, on the device."""

    run: Callable[[State, int, int], State]
    """Blocks `start` to ``stop - 1`` on what enters block `start`: in eval mode and in the trial's precision."""

    batches: list[Tensor]
    """Positions of every sample of the split, once, in the batches in which a pass computes them: by length
    where samples differ in it."""

    device: torch.device

    precision: torch.dtype = torch.float32
    """What layers compute in, whatever dtype they give: decides how far rounding alone may take two runs apart."""

    @property
    def num_samples(self) -> int:
        return sum(map(len, self.batches))
