"""Batches in parts, where a device's memory does not hold them whole."""

from __future__ import annotations

import gc
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from trainables.errors import OutOfMemory
from trainables.memory_limit import is_out_of_memory
from trainables.preprocessing import State
from trainables.undo import Intact

__all__ = ["InParts", "joined", "release_memory", "split"]

S = TypeVar("S", Tensor, tuple[Tensor, ...], State)


def split(state: S, size: int) -> Sequence[S]:
    """Parts of a batch with at most `size` samples each, as equal as can be, in order. Views, no copies."""
    first = state if isinstance(state, Tensor) else state[0]
    num_parts = math.ceil(len(first) / size)
    if isinstance(state, Tensor):
        return list(state.tensor_split(num_parts))
    return list(zip(*(tensor.tensor_split(num_parts) for tensor in state), strict=True))


def joined(parts: Sequence[S]) -> S:
    """The inverse of `split`."""
    if isinstance(parts[0], Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def release_memory(device: torch.device) -> None:
    """Give back what a failed attempt has left, once its exception is gone."""
    if device.type == "cuda":
        gc.collect()  # graphs may hold themselves in cycles; a second or so, once or twice in a run
        torch.cuda.empty_cache()


class InParts:
    """Calls functions that treat every sample alone on whole batches, or on parts of them after memory
    did not suffice: their result is the same.

    Args:
        device: that they compute on.
    """

    def __init__(self, device: torch.device) -> None:
        self.size: int | None = None
        """Most samples at once; None until memory did not suffice."""
        self._device = device
        self._intact: defaultdict[Hashable, Intact] = defaultdict(Intact)

    def __call__(self, function: Callable[[State], S], state: State, name: Hashable = None) -> S:
        """``function(state)``.

        Args:
            name: of the function, where this calls several.

        Raises:
            OutOfMemory: memory does not hold a single sample.
        """
        while True:
            parts = [state] if self.size is None else split(state, self.size)
            results, problem = _tried(partial(self._intact[name], function), parts)
            if problem is None:
                return results[0] if len(results) == 1 else joined(results)
            results.clear()
            release_memory(self._device)
            self.size = self._smaller(parts[0], problem)

    def _smaller(self, part: State, problem: str) -> int:
        size = len(part if isinstance(part, Tensor) else part[0])
        if size == 1:
            raise OutOfMemory(
                f"the memory of {self._device} must hold one sample in evaluation, and it does not ({problem}); "
                "use smaller inputs, a smaller backbone, or fewer trials per GPU (resources.gpus_per_trial)"
            )
        return math.ceil(size / 2)


def _tried(function: Callable[[State], S], parts: Sequence[State]) -> tuple[list[S], str | None]:
    """Results, and what memory was missing for, if it was."""
    results: list[S] = []
    try:
        for part in parts:
            results.append(function(part))  # noqa: PERF401  # what was done is freed before the next attempt
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return results, str(error).partition("\n")[0]
    return results, None
