"""Convolutions without the taps that see nothing but padding.

Networks made for large images shrink small ones to a few pixels: behind five strides, 64 pixels are 2, and most of a
5x5 filter lies outside. What lies outside for every output multiplies zeros only; it is left out of the arithmetic, and
its gradient is the zero that it would be. A 3x3 filter on one pixel is a 1x1 filter: a ninth of the products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

__all__ = ["TrimmedConv2d", "trim_convolutions"]


def trim_convolutions(network: nn.Module) -> None:
    """Have every plain `nn.Conv2d` of `network` that pads with zeros leave such taps out.

    The modules stay the same objects with the same parameters. Other classes of convolutions are left alone.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            module.__class__ = TrimmedConv2d


class TrimmedConv2d(nn.Conv2d):
    """`nn.Conv2d` with the same results up to rounding, and less arithmetic on small images.

    On a CPU alone: what a GPU would gain has not been measured.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type != "cpu" or not any(self.padding):
            return self._whole(input, weight, bias)
        height, width = (seen(input.shape[dim - 2], *(each[dim] for each in self._geometry)) for dim in range(2))
        if (height.is_all and width.is_all) or not (height.is_usual and width.is_usual):
            return self._whole(input, weight, bias)
        kept: Tensor = _Kept.apply(weight, height.taps, width.taps)
        padding = height.padding, width.padding
        return conv2d(input, kept, bias, self.stride, padding, self.dilation, self.groups)

    def _whole(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        outputs: Tensor = super()._conv_forward(input, weight, bias)
        return outputs

    @property
    def _geometry(self) -> tuple[Any, ...]:
        return self.kernel_size, self.padding, self.stride, self.dilation


class Seen(NamedTuple):
    """Of a filter along one dimension: which taps meet the data, and the padding that they need."""

    taps: slice
    padding: int
    is_all: bool
    is_usual: bool
    """Whether no output lies in the padding alone: PyTorch 2.14 crashes on some of the others under channels_last."""


def seen(size: int, num_taps: int, padding: int, stride: int, dilation: int) -> Seen:
    """The taps that some output has inside `size` values, where leaving the others out keeps every output.

    Tap t of output o is at ``o * stride + t * dilation - padding``.
    """
    everything = Seen(slice(0, num_taps), padding, True, padding <= dilation * (num_taps - 1))
    num_outputs = _num_outputs(size, num_taps, padding, stride, dilation)
    last_start = (num_outputs - 1) * stride - padding
    first = max(0, -(last_start // dilation))
    stop = min(num_taps, (size - 1 + padding) // dilation + 1)
    remaining = padding - first * dilation
    if (first, stop) == (0, num_taps) or first >= stop or remaining < 0:
        return everything
    if _num_outputs(size, stop - first, remaining, stride, dilation) != num_outputs:
        return everything
    return Seen(slice(first, stop), remaining, False, remaining <= dilation * (stop - first - 1))


def _num_outputs(size: int, num_taps: int, padding: int, stride: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (num_taps - 1) - 1) // stride + 1


class _Kept(torch.autograd.Function):
    """A window of a filter. Its gradient lies in memory as the filter does: otherwise autograd would copy it again."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: slice, columns: slice) -> Tensor:
        ctx.weight, ctx.window = weight, (..., rows, columns)
        return weight[ctx.window].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        whole = torch.zeros_like(ctx.weight)
        whole[ctx.window] = gradient
        return whole, None, None
