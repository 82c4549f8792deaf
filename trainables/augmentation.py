"""Random views of training images, drawn per sample and made on the device."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.errors import InvalidConfig
from trainables.preprocessing import State

__all__ = ["Augmentation", "make_augmentation"]

_SHIFT_FRAC: Final = 1 / 8
"""Of the side: a crop of 32 pixels shifts by up to 4 (He et al. 2016, arXiv 1512.03385, section 4.2)."""


class Augmentation:
    """Mirrors and shifts images, each sample by its own draw.

    Args:
        name: ``flip`` mirrors one half of the images; ``crop_flip`` shifts them as well, by up to an eighth
            of the side in each direction, and fills with black.
        num_samples: of the training split.
        num_views: 0 draws anew in every epoch; k > 0 shows each sample in the same k views in turn, whatever
            the seed, so that what is computed from a view can be kept.
    """

    def __init__(self, name: str, num_samples: int, num_views: int) -> None:
        self.name = name
        self.view: int | None = None
        """Which of the views is shown; None where they are drawn anew."""
        self._num_samples = num_samples
        self.num_views = num_views
        self._draws = torch.empty(0, 3)

    def begin(self, epoch: int, seed: int) -> None:
        """Draw for an epoch, counted from 0; `seed` is this epoch's own."""
        if self.num_views:
            self.view = epoch % self.num_views
            seed = self.view
        # In [0, 1): mirrored or not, and the shifts.
        self._draws = torch.rand((self._num_samples, 3), generator=torch.Generator().manual_seed(seed % 2**63))

    def __call__(self, images: State, positions: Tensor) -> Tensor:
        """Views of uint8 `images` (batch, 3, side, side), which are those at `positions`."""
        if not isinstance(images, Tensor):
            raise TypeError("only images have views")
        draws = self._draws[positions].to(images.device)
        if self.name == "crop_flip":
            images = _shifted(images, draws[:, 1:])
        mirrored = (draws[:, 0] < 0.5).view(-1, 1, 1, 1)
        return torch.where(mirrored, images.flip(-1), images)


def make_augmentation(config: FinetuneConfig, task: Task) -> Augmentation | None:
    """The configuration's, or None without one.

    Raises:
        InvalidConfig: the task is not of images.
    """
    if config.augmentation == "none":
        return None
    if task.preprocessing.modality != "image":
        raise InvalidConfig(f"augmentation must be none for {task.preprocessing.modality}, got {config.augmentation!r}")
    return Augmentation(config.augmentation, len(task.train), config.augment_views)


def _shifted(images: Tensor, draws: Tensor) -> Tensor:
    """Each image moved by its own whole number of pixels."""
    side = images.shape[-1]
    margin = round(side * _SHIFT_FRAC)
    padded = pad(images, (margin,) * 4)
    top, left = (draws * (2 * margin + 1)).long().unbind(dim=1)
    span = torch.arange(side, device=images.device)
    rows = (top[:, None] + span)[:, None, :, None]
    columns = (left[:, None] + span)[:, None, None, :]
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    channels = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
    return padded[batch, channels, rows, columns]
