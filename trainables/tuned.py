"""The tuned part of a backbone as one function: plain, compiled, or with its activations computed twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainables.backbones import Backbone
from trainables.errors import InvalidConfig
from trainables.preprocessing import State
from trainables.undo import Again, Intact

__all__ = ["Tuned", "require_compiler"]

_COMPILERS: Final = ("g++", "clang++", "c++", "gcc", "clang", "cl")

_MAX_GRAPHS: Final = 64
"""Compiled programs that a worker keeps: a few for every backbone and depth. PyTorch's default of 8 would
have the ninth run uncompiled."""


def require_compiler() -> None:
    """Raises InvalidConfig where `Execution.compile` cannot work: what PyTorch writes must be compiled."""
    named = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    if not any(map(shutil.which, (*named, *_COMPILERS))):
        raise InvalidConfig(
            f"execution.compile needs a C++ compiler, one of {', '.join(_COMPILERS)} on the PATH or named by CXX; "
            "install one, or set execution.compile to false"
        )


class Tuned:
    """Blocks `start` to the end and the head of a backbone.

    Args:
        compile: `torch.compile` it. The modules stay as they are, and so do the names of their parameters.

    Raises:
        InvalidConfig: it shall be compiled and there is no C++ compiler.
    """

    def __init__(self, backbone: Backbone, start: int, *, compile: bool) -> None:
        if compile:
            require_compiler()
        self._backbone = backbone
        self._start = start
        self._is_compiled = compile
        self._whole = _compiled(self.plain) if compile else self.plain
        self._blocks = [(block, _compiled(block) if compile else block) for block in backbone.blocks[start:]]
        self._intact = [Intact() for _ in self._blocks]

    @property
    def modules(self) -> list[nn.Module]:
        """Its blocks and the head."""
        return [*self._backbone.blocks[self._start :], self._backbone.head]

    @property
    def can_checkpoint(self) -> bool:
        """Whether `checkpointed` keeps less: what a single block needs is needed at once anyway."""
        return len(self._blocks) > 1

    def plain(self, state: State) -> Tensor:
        """Outputs for what enters block `start`."""
        outputs: Tensor = self._backbone.head(self._backbone.features(state, self._start))
        return outputs

    def __call__(self, state: State, *, checkpointed: bool) -> Tensor:
        """The same for the backward pass, compiled where that was asked for.

        Args:
            checkpointed: keep what enters each block and compute the rest again in the backward pass,
                to the bit: with the same dropout, and without moving running statistics a second time.

        Raises:
            InvalidConfig: PyTorch cannot compile it.
        """
        with _compiling() if self._is_compiled else nullcontext():
            return self._checkpointed(state) if checkpointed and self.can_checkpoint else self._whole(state)

    def _checkpointed(self, state: State) -> Tensor:
        # What the last block keeps is the first that the backward pass needs, and is gone before the next.
        for (block, function), intact in zip(self._blocks[:-1], self._intact, strict=False):
            state = checkpoint(intact, function, state, use_reentrant=False, context_fn=partial(_twice, block))
        outputs: Tensor = self._backbone.head(self._blocks[-1][1](state))
        return outputs


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function)
    return compiled


@contextmanager
def _compiling() -> Iterator[None]:
    """Room for the programs of many trials, and errors that say how to do without."""
    try:
        with torch._dynamo.config.patch(recompile_limit=_MAX_GRAPHS):
            yield
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InvalidConfig(
            f"execution.compile must be false here: PyTorch cannot compile this backbone ({reason})"
        ) from error


def _twice(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a block's first and second pass."""
    return nullcontext(), Again(block)
