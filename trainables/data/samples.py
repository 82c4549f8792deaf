"""Encoded samples of a whole dataset, gathered by row number into what a backbone takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.data.ragged import Ragged
from trainables.preprocessing import State

__all__ = ["Encoded", "Pixels", "Samples", "Sounds", "Tokens"]


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
        return self.images.index_select(0, rows)  # `images[rows]` takes twenty times as long

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Texts, or pairs of them, as token numbers."""

    ids: Ragged
    """int32."""

    types: Ragged
    """int8: which of the two texts each token belongs to."""

    pad_id: int

    @property
    def lengths(self) -> Tensor:
        return torch.from_numpy(self.ids.lengths)

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """``(input_ids, attention_mask, token_type_ids)``, int64 (batch, longest), padded on the right."""
        index = rows.numpy()
        ids = self.ids.padded(index, np.int64, self.pad_id)
        return tuple(map(torch.from_numpy, (ids, self.ids.mask(index), self.types.padded(index, np.int64))))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Sounds:
    """Waveforms, or what an extractor made of them."""

    frames: Ragged
    """float32: values of shape (total,) or (total, width)."""

    @property
    def lengths(self) -> Tensor | None:
        lengths = self.frames.lengths
        # A sound that could not be read has length 0 and is in no batch.
        return None if len(np.unique(lengths[lengths > 0])) <= 1 else torch.from_numpy(lengths)

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """``(features, mask)``: float32 (batch, longest[, width]), zero-padded on the right, and int64
        (batch, longest)."""
        index = rows.numpy()
        return torch.from_numpy(self.frames.padded(index, np.float32)), torch.from_numpy(self.frames.mask(index))

    def __len__(self) -> int:
        return len(self.frames)


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

    notes: tuple[str, ...] = ()
    """What a person should know of how the samples were encoded."""

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Whether each sample could be read, shape (n,)."""
        usable = np.ones(len(self.fingerprints), dtype=np.bool_)
        usable[[row for row, _ in self.unreadable]] = False
        return usable
