"""Encoded samples of a whole dataset, gathered by row number into what a backbone takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainables.preprocessing import State

__all__ = ["Encoded", "Pixels", "Samples"]


class Samples(Protocol):
    """All samples of a dataset, mapped from the file that holds them."""

    @property
    def lengths(self) -> Tensor | None:
        """Tokens or frames of each sample, int64 (n,); None where all have one size. Batches of similar
        lengths need less padding."""

    def batch(self, rows: Tensor) -> State:
        """The samples at `rows`, int64 (batch,), copied out of the mapping and padded to the longest."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images of one size."""

    images: Tensor
    """uint8, shape (n, 3, side, side)."""

    @property
    def lengths(self) -> None:
        return None

    def batch(self, rows: Tensor) -> Tensor:
        return self.images[rows]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A source as one checkpoint takes it."""

    samples: Samples
    digest: str
    """sha256 of the encoded content."""

    fingerprints: npt.NDArray[np.uint64]
    """Of each sample before it was encoded, shape (n,): equal for exact duplicates."""

    unreadable: tuple[tuple[int, str], ...] = ()
    """Row and reason of each sample that could not be read; its content is undefined."""
