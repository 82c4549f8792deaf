"""What a pass has moved is put back, so that it can be done again: a failed step, a block's second pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor, nn

from trainables.preprocessing import State

__all__ = ["Again", "Buffers", "Intact", "Undo"]

T = TypeVar("T")


class Buffers:
    """The values that buffers had when this was made. Forward passes move some: running statistics, counts.

    Only of modules in train mode: in eval mode none moves.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        # Past autograd: what is put back are values, and no graph is alive that needs those it replaces.
        self._buffers = [buffer.data for module in modules if module.training for buffer in module.buffers()]
        self._values = [torch.empty_like(buffer) for buffer in self._buffers]
        self.save()

    def save(self) -> None:
        """Take the values of now instead."""
        _copy(self._values, self._buffers)

    def restore(self) -> None:
        _copy(self._buffers, self._values)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        with torch.no_grad():
            torch._foreach_copy_(targets, sources)


class Again(AbstractContextManager[None]):
    """Within, the buffers of a module are what they were when this was made; after it, what they were before it."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._first = Buffers([module])
        self._latest = Buffers(())

    def __enter__(self) -> None:
        self._latest = Buffers([self._module])
        self._first.restore()

    def __exit__(self, *_: object) -> None:
        self._latest.restore()


class Undo:
    """Puts back buffers and random number generators.

    Args:
        modules: whose buffers a step moves.
        device: that it computes on.
    """

    def __init__(self, modules: Iterable[nn.Module], device: torch.device) -> None:
        self._modules = list(modules)
        self._device = device
        self._buffers = Buffers(())
        self._was_training: list[bool] = []
        self._cpu_state = torch.empty(0)
        self._cuda_state = torch.empty(0)

    def save(self) -> None:
        """Remember the state of now. Nobody waits for a GPU: its generator's state is kept on the CPU."""
        training = [module.training for module in self._modules]
        if training != self._was_training:
            self._buffers, self._was_training = Buffers(self._modules), training
        else:
            self._buffers.save()
        self._cpu_state = torch.get_rng_state()
        if self._device.type == "cuda":
            self._cuda_state = torch.cuda.get_rng_state(self._device)

    def restore(self) -> None:
        self._buffers.restore()
        torch.set_rng_state(self._cpu_state)
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._cuda_state, self._device)


class Intact:
    """Calls a function so that its input can be used again: where it begins with something in place, an
    activation or dropout, it gets a copy. Whether it does is seen at the first call."""

    def __init__(self) -> None:
        self._writes: bool | None = None

    def __call__(self, function: Callable[[State], T], state: State) -> T:
        if self._writes is False:
            return function(state)
        shown = state.clone() if isinstance(state, Tensor) else tuple(tensor.clone() for tensor in state)
        result = function(shown)
        if self._writes is None:
            self._writes = not _equal(shown, state)
        return result


def _equal(first: State, second: State) -> bool:
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return isinstance(first, Tensor) and isinstance(second, Tensor) and torch.equal(first, second)
    return all(map(torch.equal, first, second))
