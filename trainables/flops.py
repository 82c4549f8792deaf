"""How much arithmetic a chain of modules does, counted while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainables.preprocessing import State

__all__ = ["counted_flops", "flops_along"]


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Counts the FLOPs of what runs within, backward passes included: `FlopCounterMode.get_total_flops`.

    As PyTorch counts them: 2 per multiply-add of matrix products, convolutions and attention. What works on
    single elements (norms, activations) counts nothing.
    """
    corrected = {torch.ops.aten.convolution_backward: _convolution_backward}
    # PyTorch has no count for the CPU's fused attention: it would be left out.
    with FlopCounterMode(display=False, custom_mapping=corrected) as counter, sdpa_kernel(SDPBackend.MATH):
        yield counter


def flops_along(parts: Iterable[nn.Module], state: State) -> Iterator[tuple[int, State]]:
    """Run `parts` one after the other, yielding the FLOPs of each and what leaves it."""
    for part in parts:
        with counted_flops() as counter:
            state = part(state)
        yield counter.get_total_flops(), state


def _convolution_backward(
    grad_out: Sequence[int], x: Sequence[int], weight: Sequence[int], *others: object, **_: object
) -> int:
    """From shapes, in place of PyTorch's own, which counts the weights of a depthwise convolution as if every
    channel met every other: hundreds of times too many.

    Each gradient takes as many products as the convolution did: a filter's weights times the places it is at.
    """
    _bias, _stride, _padding, _dilation, is_transposed, _output_padding, _groups, asked = others
    places = math.prod((x if is_transposed else grad_out)[2:])
    assert isinstance(asked, Sequence)
    return 2 * x[0] * places * math.prod(weight) * sum(asked[:2])
