"""One vector per sample of whatever travels between blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.preprocessing import State

__all__ = ["pooled"]


def pooled(state: State) -> Tensor:
    """Mean over positions, float32 (batch, width): of pixels of a map, of the tokens or frames that are no padding.

    Of several maps side by side the means stand in a row. Maps are square: where the first two of three dimensions
    are equal and the last two are not, channels come last, as in Swin.
    """
    if isinstance(state, Tensor):
        return _mean(state)
    values = [tensor for tensor in state if tensor.is_floating_point()]
    masks = [tensor for tensor in state if not tensor.is_floating_point()]
    return torch.cat([_mean(tensor, _mask_of(tensor, masks)) for tensor in values], dim=1)


def _mask_of(hidden: Tensor, masks: list[Tensor]) -> Tensor | None:
    """Which positions of `hidden` (batch, length, width) are real, if something beside it says so."""
    return next((mask for mask in masks if hidden.ndim == 3 and mask.shape == hidden.shape[:2]), None)


def _mean(hidden: Tensor, mask: Tensor | None = None) -> Tensor:
    hidden = hidden.float()
    if mask is not None:
        weight = mask.to(hidden.dtype).unsqueeze(-1)
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    if hidden.ndim <= 2:
        return hidden.reshape(len(hidden), -1).clone()  # a later block may work in place
    has_channels_first = hidden.ndim == 4 and hidden.shape[2] == hidden.shape[3]
    return hidden.mean(dim=(2, 3)) if has_channels_first else hidden.mean(dim=tuple(range(1, hidden.ndim - 1)))
