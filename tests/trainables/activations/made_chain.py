"""Chains of blocks over samples in memory, small enough to be run hundreds of times."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables.activations import Activations, Chain, open_activations
from trainables.backbones import Backbone
from trainables.execution import ActivationCache, ActivationDtype, Execution
from trainables.preprocessing import State

CPU = torch.device("cpu")


def over(
    inputs: Callable[[Tensor], State],
    run: Callable[[State, int, int], State],
    *,
    num: int,
    depth: int = 1,
    name: str = "a",
    batches: list[Tensor] | None = None,
) -> Chain:
    return Chain(
        keys=tuple(f"{name}{k}" for k in range(depth + 1)),
        inputs=inputs,
        run=run,
        batches=list(torch.split(torch.arange(num), 10)) if batches is None else batches,
        device=CPU,
    )


def of_backbone(backbone: Backbone, images: Tensor, name: str = "a") -> Chain:
    """The blocks of an image model, every one of them, on `images`."""
    return over(
        lambda positions: images[positions].contiguous(memory_format=torch.channels_last),
        backbone.features,
        num=len(images),
        depth=backbone.num_blocks,
        name=name,
    )


def doubling(num: int = 24, name: str = "a") -> tuple[Chain, list[tuple[int, int]]]:
    """Three blocks that double a vector, and which of them were run: a pair of start and stop per batch."""
    samples = torch.arange(num * 5, dtype=torch.float32).view(num, 5)
    ran: list[tuple[int, int]] = []

    def run(state: State, start: int, stop: int) -> State:
        assert isinstance(state, Tensor)
        ran.append((start, stop))
        return state * 2 ** (stop - start)

    return over(lambda positions: samples[positions], run, num=num, depth=3, name=name), ran


def opened(
    chain: Chain,
    depth: int = 1,
    *,
    mode: ActivationCache = "always",
    dtype: ActivationDtype = "exact",
    num_passes: float = 100,
) -> Activations | None:
    execution = Execution(activation_cache=mode, activation_dtype=dtype)
    return open_activations(chain, depth, execution=execution, num_passes=num_passes)


def cached(chain: Chain, depth: int = 1, *, dtype: ActivationDtype = "exact") -> Activations:
    """What must be possible to cache."""
    activations = opened(chain, depth, dtype=dtype)
    assert activations is not None
    return activations


@torch.no_grad()
def computed(chain: Chain, depth: int, positions: Tensor) -> State:
    """Without the cache."""
    return chain.run(chain.inputs(positions), 0, depth)


def same(a: State, b: State) -> bool:
    """To the bit, and in dtype, shape and order in memory."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and _same(a, b)
    return len(a) == len(b) and all(map(_same, a, b))


def _same(a: Tensor, b: Tensor) -> bool:
    # The stride of a dimension of one entry says nothing of where anything lies.
    strides = [[stride for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1] for t in (a, b)]
    form = [(t.dtype, t.shape, s) for t, s in zip((a, b), strides, strict=True)]
    return form[0] == form[1] and bool(((a == b) | (a.isnan() & b.isnan())).all())


def files(cache: Path) -> set[Path]:
    return set((cache / "activations").glob("*.arrow"))


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
