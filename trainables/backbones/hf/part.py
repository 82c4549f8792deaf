"""Pieces of a transformers model, kept under their own names and called one after the other.

transformers' models cannot be traced by torch.fx: their forward depends on the data. So each family says
which of its modules make up a block and how the family's own forward calls them. Nothing inside a module
is written anew, hence equality to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from trainables.preprocessing import State

__all__ = ["Layout", "Part", "Step", "first_of", "hold_constants"]


@dataclass(frozen=True, slots=True)
class Step:
    """One call: ``run(state, *modules)`` gives the next state."""

    run: Callable[..., State]
    """A function of a module, or a `functools.partial` of one, so that a backbone can be copied."""

    paths: tuple[str, ...] = ()
    """Of the modules, in the model. They belong to the part that takes this step."""

    borrowed: tuple[str, ...] = ()
    """Of further modules, which belong to an earlier part and are handed over after the others."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A model cut into blocks and a head."""

    blocks: list[list[Step]]

    pool: list[Step]
    """What makes one vector of the last layer's output; the last block ends with it."""

    head: list[Step]
    """From the feature vector to the logits."""


class Part(nn.Module):
    """A block, or the head: some modules of a model and the steps that run them.

    A module at ``a.b.c`` in the model is at ``a.b.c`` in the part, so tensors keep their names.

    Some families let all layers read one table of relative positions. It can be owned by one block only,
    and it has no batch dimension to travel by. So the later blocks *borrow* it: they call the owner's
    module without having its parameters. Freezing is exact all the same: the table moves if and only if
    its owner is tuned, and it gets the gradients of every layer that reads it.

    Args:
        model: its modules are reused, not copied.
        steps: in the order they are taken.

    Raises:
        AttributeError: the model has no module at one of the paths.
    """

    def __init__(self, model: nn.Module, steps: Sequence[Step]) -> None:
        super().__init__()
        self._steps = tuple(steps)
        # A dict and not attributes: nn.Module would register them.
        self._borrowed = {path: model.get_submodule(path) for step in steps for path in step.borrowed}
        for step in self._steps:
            for path in step.paths:
                _graft(self, path, model.get_submodule(path))

    def forward(self, x: State) -> State:
        for step in self._steps:
            owned = map(self.get_submodule, step.paths)
            x = step.run(x, *owned, *(self._borrowed[path] for path in step.borrowed))
        return x


def hold_constants(model: nn.Module) -> None:
    """Turn parameters that do not require gradients into buffers, in place.

    Sinusoidal position embeddings are such: freezing and thawing blocks sets ``requires_grad`` of every
    parameter, and must not make them train.
    """
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(module, name)
                module.register_buffer(name, parameter.detach())


def _graft(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in dict(root.named_children()):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)


def first_of(out: Any) -> Any:
    """The hidden states of a layer that returns them alone, or before its attention weights."""
    return out[0] if isinstance(out, tuple) else out
