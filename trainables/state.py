"""What a run has come to, as tensors and plain values: what is kept between its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["TrainingState", "require_alike"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """Of a run or of a part of one. Its tensors are the run's own: whoever keeps them copies them."""

    tensors: Mapping[str, Tensor]
    """By a name that begins with the part they are of: ``moving.``, ``best.`` or ``optimizer.``."""

    values: Mapping[str, Any]
    """Of what JSON takes."""

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part by the rest of their name; empty where it has none."""
        start = f"{name}."
        return {key.removeprefix(start): tensor for key, tensor in self.tensors.items() if key.startswith(start)}


def require_alike(part: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """
    Raises:
        ValueError: the tensors differ in name, shape or dtype.
    """
    if found.keys() != wanted.keys():
        names = sorted(found.keys() ^ wanted.keys())
        raise ValueError(f"{part} must hold the tensors of this run; only one of both has {names[0]}")
    for name, tensor in wanted.items():
        got = found[name]
        if got.shape != tensor.shape or got.dtype != tensor.dtype:
            raise ValueError(
                f"{part}.{name} must be {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"got {got.dtype} of shape {tuple(got.shape)}"
            )
