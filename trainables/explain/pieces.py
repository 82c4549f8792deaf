"""A sample as pieces that can be there or not: cells of an image, tokens of a text, stretches of a sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from trainables.errors import InvalidConfig
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, Preprocessing, State, Tokenizer

__all__ = ["ALWAYS", "MAX_TOKENS", "NUM_CELLS", "NUM_STRETCHES", "Pieces", "Readable", "pieces_of"]

ALWAYS: Final = -1
"""Number of the piece that is never taken away: special tokens, padding."""

NUM_CELLS: Final = 7
"""Along each side of an image: 49 cells, the last feature map of most CNNs at 224 px."""

NUM_STRETCHES: Final = 16
"""Equal parts of a sound."""

MAX_TOKENS: Final = 64
"""Pieces of a text; of a longer one, tokens that follow one another make up a piece together."""

_BLUR: Final = 8
"""Sides of an image per standard deviation of its blur: about the size of a cell."""


@runtime_checkable
class Readable(Protocol):
    """A tokenizer that can do more than `trainables.preprocessing.Tokenizer` asks for, as those of transformers
    can. Without it absent tokens are padding and people see the numbers of tokens."""

    @property
    def mask_id(self) -> int | None:
        """Of the token that hides another one in pretraining; None where there was none."""

    def spelled(self, ids: Sequence[int]) -> list[str]:
        """Each token as text, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """One sample, as it enters block 0, with what stands in the place of pieces that are taken away."""

    sample: tuple[Tensor, ...]
    """A batch of one. Pieces are of the first tensor; the others (masks, token types) stay as they are."""

    is_tuple: bool
    """Whether block 0 takes a tuple."""

    absent: Tensor
    """What stands where a piece is absent, in the shape and type of the first tensor."""

    numbers: Tensor
    """int64: the piece that each place belongs to, or `ALWAYS`; of the first tensor's shape without the batch,
    or broadcast to it."""

    num: int
    """How many there are."""

    def with_only(self, present: Tensor) -> State:
        """The sample with some pieces.

        Args:
            present: bool (batch, num).
        """
        present = present.to(self.absent.device)
        there = torch.cat([present, present.new_ones(len(present), 1)], dim=1)  # `ALWAYS` reads the last column
        first, *others = self.sample
        parts = (
            torch.where(there[:, self.numbers], first, self.absent),
            *(part.expand(len(present), *part.shape[1:]) for part in others),
        )
        return parts if self.is_tuple else parts[0]

    def summed(self, values: Tensor) -> Tensor:
        """Sums of `values` over each piece.

        Args:
            values: of the shape of `numbers`, or with more dimensions behind. Those over time may have another
                number of places, which divide it evenly.

        Returns:
            float32 (num,), on the CPU.
        """
        numbers = self.numbers
        if numbers.ndim == 1:
            places = (torch.arange(len(values), device=values.device) + 0.5) * (len(numbers) / len(values))
            numbers = numbers[places.long()]
        numbers = numbers.reshape(*numbers.shape, *[1] * (values.ndim - numbers.ndim))
        index = numbers.expand_as(values).flatten() % (self.num + 1)  # `ALWAYS` is last
        sums = torch.zeros(self.num + 1, dtype=torch.float64, device=values.device)
        return sums.index_add(0, index, values.detach().double().flatten())[:-1].float().cpu()


def pieces_of(preprocessing: Preprocessing, sample: State) -> Pieces:
    """Cut a sample.

    An image is a grid of 7 x 7 cells, and an absent cell shows the blurred image (its standard deviation is an
    eighth of the side). Of a text each token but the special ones is a piece, replaced by the mask token, or by
    padding where the tokenizer has none; the attention mask stays, so that the length does. A sound is 16
    stretches of equal duration, and an absent one is silence: what the extractor makes of zeros.

    Args:
        preprocessing: of the backbone.
        sample: a batch of one, as it enters block 0.
    """
    if isinstance(preprocessing, ImagePreprocessing):
        return _image(sample)
    if isinstance(preprocessing, AudioPreprocessing):
        return _sound(preprocessing, sample)
    return _text(preprocessing.tokenizer, sample)


def _image(sample: State) -> Pieces:
    if not isinstance(sample, Tensor):
        raise TypeError("an image enters block 0 as one tensor")
    side = sample.shape[-1]
    if side < NUM_CELLS:
        raise InvalidConfig(f"image_size must be at least {NUM_CELLS} to explain {NUM_CELLS} cells a side, got {side}")
    reach = side // 4
    blurred = gaussian_blur(sample, kernel_size=[2 * reach + 1] * 2, sigma=[side / _BLUR] * 2)
    cell = torch.arange(side, device=sample.device) * NUM_CELLS // side
    return Pieces(
        sample=(sample,),
        is_tuple=False,
        absent=blurred,
        numbers=(cell[:, None] * NUM_CELLS + cell).unsqueeze(0),
        num=NUM_CELLS**2,
    )


def _text(tokenizer: Tokenizer, sample: State) -> Pieces:
    ids, mask, types = sample
    special = _special_tokens(tokenizer).to(ids.device)
    content = (mask[0] > 0) & ~torch.isin(ids[0], special)
    count = int(content.sum())
    num = min(count, MAX_TOKENS)
    numbers = torch.full_like(ids[0], ALWAYS)
    numbers[content] = torch.arange(count, device=ids.device) * num // max(1, count)
    return Pieces(
        sample=(ids, mask, types),
        is_tuple=True,
        absent=torch.full_like(ids, mask_token(tokenizer)),
        numbers=numbers,
        num=num,
    )


def mask_token(tokenizer: Tokenizer) -> int:
    """Number of the token that stands for a hidden one; padding where the tokenizer has no other."""
    found = tokenizer.mask_id if isinstance(tokenizer, Readable) else None
    return tokenizer.pad_id if found is None else found


def _special_tokens(tokenizer: Tokenizer) -> Tensor:
    """What a text has before any word is written, and padding."""
    (bare, _), *_ = tokenizer.encode([""], None, 16)
    ((paired, _),) = tokenizer.encode([""], [""], 16)
    return torch.tensor(sorted({*bare, *paired, tokenizer.pad_id}))


def _sound(preprocessing: AudioPreprocessing, sample: State) -> Pieces:
    features, mask = sample
    silence = torch.from_numpy(preprocessing.extractor(np.zeros(preprocessing.sampling_rate, np.float32))[:1]).to(
        features
    )
    length = _sounding(features[0], mask[0])
    num = min(NUM_STRETCHES, length)
    numbers = torch.full_like(mask[0], ALWAYS)
    numbers[:length] = torch.arange(length, device=mask.device) * num // length
    return Pieces(
        sample=(features, mask),
        is_tuple=True,
        absent=silence.expand_as(features[0]).unsqueeze(0),
        numbers=numbers if features.ndim == 2 else numbers.unsqueeze(1),
        num=num,
    )


def _sounding(features: Tensor, mask: Tensor) -> int:
    """Frames up to the last that is not filled up: some extractors pad every sound to one length."""
    real = features[: int(mask.sum())]
    differs = (real != real[-1]).flatten(1).any(dim=1) if real.ndim == 2 else real != real[-1]
    last = differs.nonzero()
    return int(last[-1]) + 2 if len(last) else len(real)
