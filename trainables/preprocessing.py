"""What a checkpoint is fed, per modality. Values are the checkpoint's own, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainables.modality import Modality

__all__ = [
    "AudioPreprocessing",
    "Extractor",
    "ImagePreprocessing",
    "Normalize",
    "Preprocessing",
    "State",
    "TextPreprocessing",
    "Tokenizer",
    "parts_of",
]

State: TypeAlias = Tensor | tuple[Tensor, ...]
"""What travels along a chain of blocks: a tensor, or several (hidden states, then a mask and what else
later blocks need). Tensors of one value per sample have the batch as their first dimension."""


def parts_of(state: State) -> tuple[Tensor, ...]:
    """Its tensors, one or several."""
    return (state,) if isinstance(state, Tensor) else state


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePreprocessing:
    """Images enter as float32 (batch, 3, side, side), normalised per channel."""

    modality: ClassVar[Modality] = "image"

    input_size: int
    """Side in pixels the checkpoint was trained or published at."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Per channel, of pixels scaled to [0, 1]."""

    interpolation: str
    """``bilinear`` or ``bicubic``."""

    crop_frac: float
    """Side of the central crop as a share of the resized side, in (0, 1]."""

    crop_mode: str = "center"
    """``center`` resizes the shorter side and keeps the shape; ``squash`` resizes both to one length first."""

    def on_device(self) -> Normalize:
        """The last step, applied to a batch of uint8 pixels on the device."""
        return Normalize(self.mean, self.std)


class Tokenizer(Protocol):
    """Text to token ids as one checkpoint wants them. Hashable, picklable, equal if it does the same."""

    @property
    def key(self) -> str:
        """Names what it does, for the cache: it changes when any id could."""

    @property
    def pad_id(self) -> int: ...

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
    ) -> list[tuple[list[int], list[int]]]:
        """Token ids and token types (which of the two texts, 0 or 1) of each text or pair, special
        tokens included, cut to `max_length` tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPreprocessing:
    """Texts enter as int64 ``(input_ids, attention_mask, token_type_ids)``, each (batch, length), padded
    on the right to the longest of the batch."""

    modality: ClassVar[Modality] = "text"

    tokenizer: Tokenizer

    max_length: int
    """Most tokens the checkpoint has positions for."""

    def on_device(self) -> nn.Module:
        """Nothing is left to do on the device."""
        return nn.Identity()


class Extractor(Protocol):
    """A waveform to what one checkpoint takes. Hashable, picklable, equal if it does the same."""

    @property
    def key(self) -> str:
        """Names what it does, for the cache: it changes when any number could."""

    def __call__(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Features of one mono waveform in [-1, 1]: shape (length,) or (length, width)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioPreprocessing:
    """Sounds enter as ``(features, mask)``: float32 (batch, length) or (batch, length, width) as the
    extractor gives them, zero-padded on the right to the longest of the batch, and int64 (batch, length)."""

    modality: ClassVar[Modality] = "audio"

    sampling_rate: int
    """In Hz, that waveforms are resampled to."""

    extractor: Extractor

    max_duration_s: float | None = None
    """Longest sound the checkpoint takes; what is beyond is cut off."""

    def on_device(self) -> nn.Module:
        """Nothing is left to do on the device."""
        return nn.Identity()


Preprocessing: TypeAlias = ImagePreprocessing | TextPreprocessing | AudioPreprocessing


class Normalize(nn.Module):
    """uint8 pixels (batch, 3, side, side) to the normalised floats that a checkpoint takes, channels last."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        return ((pixels.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
