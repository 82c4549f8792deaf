"""Batches out of a file of activations, or out of a copy of it on the device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from trainables.activations.file import Table
from trainables.activations.layout import Part
from trainables.preprocessing import State

__all__ = ["Activations"]


class Activations:
    """What crosses a boundary, of every sample of a split.

    Args:
        table: the file.
        device: where batches are given.
        resident: keep a copy of all of it on `device`.
    """

    def __init__(self, table: Table, device: torch.device, *, resident: bool = False) -> None:
        self._layout = table.header.layout
        self._device = device
        self._is_resident = resident
        self._table = _moved(table, device) if resident else table
        self._constants = {k: value.to(device) for k, value in self._layout.constants.items()}
        self._lengths = None if table.offsets is None else table.offsets.diff()
        self.num_bytes = table.num_bytes

    def batch(self, positions: Tensor) -> State:
        """What the blocks would give for the samples at `positions`, int64 (batch,), on the device.

        Dtype, shape and order in memory are as computed. Sequences are padded to the longest of the batch, with
        zeros where the blocks leave something that nobody may read.
        """
        index = positions.cpu()
        if self._table.row_of is not None:
            index = self._table.row_of[index]
        lengths = None if self._lengths is None else self._lengths[index]
        parts = tuple(self._part(k, part, index, lengths) for k, part in enumerate(self._layout.parts))
        return parts if self._layout.is_tuple else parts[0]

    def _part(self, number: int, part: Part, index: Tensor, lengths: Tensor | None) -> Tensor:
        if part.kind == "constant":
            return self._constants[number].expand(len(index), *part.shape)
        if part.kind == "rows":
            return self._given(self._rows(part, self._table.rows[number], index), part)
        if lengths is None:
            raise AssertionError("a file with tokens has their offsets")
        if part.kind == "mask":
            real = torch.arange(int(lengths.max())) < lengths[:, None]
            return real.to(torch.int64).to(self._device, non_blocking=True)
        return self._given(self._padded(number, part, index, lengths), part)

    def _given(self, stored: Tensor, part: Part) -> Tensor:
        return stored.to(self._device, non_blocking=True).to(part.dtype)

    def _rows(self, part: Part, rows: Tensor, index: Tensor) -> Tensor:
        index = index.to(rows.device, non_blocking=True)
        out = part.blank(len(index), like=rows, pin=self._is_pinned)
        if part.strides is not None:
            # Not `rows[index]`, which takes twenty times as long.
            torch.index_select(rows, 0, index, out=out.as_strided((len(index), part.numel), (part.numel, 1)))
        else:
            sizes = [out.shape[dim] for dim in part.inner]
            out.permute(0, *part.inner).copy_(rows.index_select(0, index).view(len(index), *sizes))
        return out

    def _padded(self, number: int, part: Part, index: Tensor, lengths: Tensor) -> Tensor:
        tokens, offsets = self._table.tokens, self._table.offsets
        if tokens is None or offsets is None:
            raise AssertionError("a file with a part of tokens has them")
        kept = list(self._layout.of_kind("tokens"))
        start = sum(self._layout.parts[k].num_bytes for k in kept[: kept.index(number)])
        own = tokens[:, start : start + part.num_bytes]
        longest = int(lengths.max())
        dense = replace(part, order=tuple(range(len(part.order))))
        out = dense.blank(len(index), longest, like=tokens, pin=self._is_pinned)
        to = out.view(len(index), longest, -1).view(torch.uint8)
        starts = offsets[index]
        if self._is_resident:
            numbers = torch.arange(longest)
            where = (starts[:, None] + numbers).clamp(max=len(tokens) - 1).flatten()
            to.copy_(own.index_select(0, where.to(tokens.device)).view_as(to))
            to.masked_fill_((numbers >= lengths[:, None])[..., None].to(tokens.device), 0)
        else:
            # One copy per sample is as fast as a gather of all tokens, and faster where they are small.
            target, source = to.numpy(), own.numpy()
            for row, first, length in zip(target, starts.tolist(), lengths.tolist(), strict=True):
                row[:length] = source[first : first + length]
                row[length:] = 0
        if part.order == dense.order:
            return out
        return part.blank(len(index), longest, like=tokens, pin=self._is_pinned).copy_(out)

    @property
    def _is_pinned(self) -> bool:
        """Whether batches are gathered in memory that the device copies from by itself."""
        return self._device.type == "cuda" and not self._is_resident


def _moved(table: Table, device: torch.device) -> Table:
    """With the columns on `device`; what is computed from positions stays on the CPU."""
    return replace(
        table,
        rows={k: rows.to(device) for k, rows in table.rows.items()},
        tokens=None if table.tokens is None else table.tokens.to(device),
    )
