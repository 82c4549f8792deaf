"""How one part of what crosses a boundary is kept, and given back as it was computed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

__all__ = ["Kind", "Layout", "NotCacheable", "Part", "part_like"]

Kind = Literal["rows", "tokens", "mask", "constant"]


class NotCacheable(ValueError):
    """What crosses the boundary cannot be stored sample by sample; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One tensor of a state."""

    kind: Kind
    """``rows``: one of a fixed size per sample. ``tokens``: one row per token, as many as the sample has.
    ``mask``: which tokens are real; follows from the lengths. ``constant``: one for all samples."""

    dtype: torch.dtype
    """As computed."""

    stored: torch.dtype
    """As in the file."""

    shape: tuple[int, ...]
    """Of a sample, of a token, or of the constant: without batch and length."""

    order: tuple[int, ...]
    """Dimensions of the batched tensor as they lie in memory, the outermost first."""

    strides: tuple[int, ...] | None = None
    """Of `shape`, where the samples of a batch lie in memory one after the other."""

    @property
    def numel(self) -> int:
        """Numbers per sample, token or constant."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Stored, per sample, token or constant."""
        return self.numel * self.stored.itemsize

    @property
    def inner(self) -> tuple[int, ...]:
        """Dimensions behind the batch, in their order in memory."""
        return tuple(dim for dim in self.order if dim != 0)

    def rows(self, tensor: Tensor) -> Tensor:
        """Each sample of a batch as it is stored: shape (batch, numel), on the CPU."""
        return tensor.permute(0, *self.inner).reshape(len(tensor), -1).to(self.stored).contiguous().cpu()

    def tokens(self, tensor: Tensor, mask: Tensor) -> Tensor:
        """The real tokens of all samples of a batch: shape (tokens, numel), on the CPU."""
        return tensor[mask.bool()].reshape(-1, self.numel).to(self.stored).contiguous().cpu()

    def blank(self, *batch: int, like: Tensor, pin: bool = False) -> Tensor:
        """Memory for ``(batch[, length], *shape)`` where `like` is, laid out as computed and of the stored dtype."""
        sizes = (*batch, *self.shape)
        if self.strides is not None:
            strides = [self.numel, *self.strides]
        else:
            strides, step = [0] * len(sizes), 1
            for dim in reversed(self.order):
                strides[dim] = step
                step *= sizes[dim]
        return torch.empty_strided(sizes, strides, dtype=self.stored, device=like.device, pin_memory=pin)

    def to_json(self) -> dict[str, Any]:
        names = {name: str(getattr(self, name)).removeprefix("torch.") for name in ("dtype", "stored")}
        return {**asdict(self), **names}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(
            kind=values["kind"],
            dtype=getattr(torch, values["dtype"]),
            stored=getattr(torch, values["stored"]),
            shape=tuple(values["shape"]),
            order=tuple(values["order"]),
            strides=None if values["strides"] is None else tuple(values["strides"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How the parts of a state are kept."""

    parts: tuple[Part, ...]
    is_tuple: bool
    constants: dict[int, Tensor]
    """The value of each part that is a constant, by its number: of its shape, on the CPU."""

    def of_kind(self, kind: Kind) -> dict[int, Part]:
        return {number: part for number, part in enumerate(self.parts) if part.kind == kind}

    @property
    def token_bytes(self) -> int:
        """Of all its parts together."""
        return sum(part.num_bytes for part in self.of_kind("tokens").values())

    @property
    def row_bytes(self) -> int:
        """Per sample, beside its tokens."""
        return sum(part.num_bytes for part in self.of_kind("rows").values())


def part_like(kind: Kind, tensor: Tensor, rounding: torch.dtype | None) -> Part:
    """How to keep parts of which `tensor` is a batch of at least two samples.

    Args:
        rounding: dtype to store floating-point numbers of more than 16 bits in; None stores them as they are.
    """
    rounded = rounding is not None and tensor.is_floating_point() and tensor.dtype.itemsize > rounding.itemsize
    stored = rounding if rounded and rounding is not None else tensor.dtype
    order, is_dense = _order(tensor)
    behind = 2 if kind == "tokens" else 1
    exact = kind == "rows" and is_dense and order[0] == 0
    return Part(
        kind=kind,
        dtype=tensor.dtype,
        stored=stored,
        shape=tuple(tensor.shape[behind:]),
        order=order,
        strides=tuple(tensor.stride()[1:]) if exact else None,
    )


def _order(tensor: Tensor) -> tuple[tuple[int, ...], bool]:
    """Dimensions from the outermost in memory, and whether there are no gaps.

    Where a dimension has one entry its stride says nothing: such come last.
    """
    strides = tensor.stride()
    order = sorted(range(tensor.ndim), key=lambda dim: (tensor.shape[dim] == 1, -strides[dim]))
    expected, is_dense = 1, True
    for dim in reversed(order):
        is_dense &= tensor.shape[dim] == 1 or strides[dim] == expected
        expected *= tensor.shape[dim]
    return tuple(order), is_dense
