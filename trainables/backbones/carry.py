"""What travels from one block to the next where a chain is cut.

A block gives a tensor, or a tuple of tensors that all have the batch as their first dimension, so that
what leaves it can be stored and batched anew sample by sample. Values without a batch are carried in
that form too and taken back unchanged on the other side: a tensor as a view expanded over the batch, a
number as the length of a row of bytes.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, fx

from trainables.backbones.tracing import BATCH

__all__ = ["Carry", "as_rows", "carry", "expanded", "side_by_side"]

Kind = Literal["batch", "shared", "number", "batch_size"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Carry:
    """The values alive at a cut, tensors of one row per sample first."""

    items: tuple[tuple[fx.Node, Kind], ...]

    widths: tuple[int, ...] = ()
    """Of feature vectors, shape (batch, width), that travel side by side as one; else empty."""

    @property
    def tensors(self) -> list[fx.Node]:
        """Those of one row per sample."""
        return [node for node, kind in self.items if kind == "batch"]

    @property
    def is_single(self) -> bool:
        """Whether one tensor is carried as it is."""
        return [kind for _, kind in self.items if kind != "batch_size"] == ["batch"]

    def unpack(self, graph: fx.Graph) -> dict[fx.Node, fx.Node]:
        """Add an input to `graph` and what turns it back into the values."""
        x = graph.placeholder("x")
        if self.widths:
            vectors = graph.call_method("split", (x, list(self.widths), 1))
            return {n: graph.call_function(operator.getitem, (vectors, i)) for i, (n, _) in enumerate(self.items)}
        sent = [node for node, kind in self.items if kind != "batch_size"]
        parts = {sent[0]: x}
        if not self.is_single:
            parts = {n: graph.call_function(operator.getitem, (x, i)) for i, n in enumerate(sent)}
        values = {}
        for node, kind in self.items:
            if kind == "batch":
                values[node] = parts[node]
            elif kind == "shared":
                values[node] = graph.call_method("select", (parts[node], 0, 0))
            elif kind == "number":
                values[node] = graph.call_method("size", (parts[node], 1))
            else:
                values[node] = graph.call_method("size", (parts[sent[0]], 0))
        return values

    def pack(self, graph: fx.Graph, values: dict[fx.Node, fx.Node]) -> None:
        """Add the output to `graph`, made of its copies of the values."""
        like = values[self.items[0][0]]
        if self.widths:
            graph.output(graph.call_function(torch.cat, ([values[node] for node, _ in self.items], 1)))
            return
        packed = []
        for node, kind in self.items:
            if kind == "batch":
                packed.append(values[node])
            elif kind == "shared":
                packed.append(graph.call_function(expanded, (values[node], like)))
            elif kind == "number":
                packed.append(graph.call_function(as_rows, (values[node], like)))
        graph.output(packed[0] if self.is_single else tuple(packed))


def carry(alive: list[fx.Node], values: dict[fx.Node, Any]) -> Carry | None:
    """How the values in `alive` travel, or None where one of them cannot, or none has the batch."""
    kinds = [(node, _kind(values[node])) for node in alive]
    order: tuple[Kind, ...] = ("batch", "shared", "number", "batch_size")
    items = tuple((node, kind) for wanted in order for node, kind in kinds if kind == wanted)
    if len(items) < len(alive) or not items or items[0][1] != "batch":
        return None
    return Carry(items=items)


def side_by_side(vectors: Carry, values: dict[fx.Node, Any]) -> Carry:
    """The same feature vectors as one vector, where they are several."""
    if vectors.is_single:
        return vectors
    return replace(vectors, widths=tuple(values[node].shape[1] for node, _ in vectors.items))


def expanded(value: Tensor, like: Tensor) -> Tensor:
    """A view of `value` for every sample of `like`."""
    return value.expand(len(like), *value.shape)


def as_rows(number: int, like: Tensor) -> Tensor:
    """Shape (batch, number): the number is in the shape, so that reading it back needs no device."""
    return like.new_zeros((len(like), number), dtype=torch.uint8)


def _kind(value: Any) -> Kind | None:
    if isinstance(value, Tensor):
        if value.ndim and value.shape[0] == BATCH:
            return "batch"
        return None if any(size and size % BATCH == 0 for size in value.shape) else "shared"
    if type(value) is int and value > 0:
        if value == BATCH:
            return "batch_size"
        return None if value % BATCH == 0 else "number"
    return None
