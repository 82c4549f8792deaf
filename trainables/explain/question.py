"""What an explainer is asked: why a network answers as it does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.config import Precision
from trainables.explain.answer import Answer
from trainables.explain.pieces import Pieces
from trainables.precision import autocast
from trainables.preprocessing import State, parts_of

__all__ = ["Network", "Question"]

_BATCH: Final = 64


class Network:
    """A backbone in eval mode on its device.

    Args:
        backbone: with its head.
        precision: that it computes in.
        device: where it is.
    """

    def __init__(self, backbone: Backbone, precision: Precision, device: torch.device) -> None:
        self.backbone = backbone
        self.precision = precision
        self.device = device

    def outputs(self, state: State, start: int = 0) -> Tensor:
        """Float32 (batch, num_outputs), of what enters block `start`; differentiable."""
        with autocast(self.precision, self.device):
            outputs: Tensor = self.backbone.head(self.backbone.features(state, start))
        return outputs.float()

    def behind_block_0(self, state: State) -> tuple[Tensor, ...]:
        """What leaves block 0, the hidden states first; without gradients."""
        with torch.no_grad(), autocast(self.precision, self.device):
            return parts_of(self.backbone.features(state, 0, 1))

    def last_spatial_block(self, sample: State) -> nn.Module | None:
        """The last block that gives square feature maps (batch, channels, height, width), None where no block
        does. Maps with their channels last, as Swin has them, do not count: it is no CNN.

        Args:
            sample: any batch that may enter block 0.
        """
        found: nn.Module | None = None
        with torch.no_grad(), autocast(self.precision, self.device):
            for block in self.backbone.blocks:
                sample = block(sample)
                if isinstance(sample, Tensor) and sample.ndim == 4 and sample.shape[2] == sample.shape[3] > 1:
                    found = block
        return found


@dataclass(frozen=True, kw_only=True)
class Question:
    """One answer to one sample, as a function of which pieces of the sample are there."""

    network: Network
    pieces: Pieces
    answer: Answer

    seed: int = 0
    """Of all that an explainer draws."""

    def shares(self, present: Tensor) -> Tensor:
        """`Answer.share` with some pieces only.

        Args:
            present: bool (n, pieces).

        Returns:
            float32 (n,), on the CPU.
        """
        with torch.no_grad():
            parts = [
                self.answer.share(self.network.outputs(self.pieces.with_only(part))).cpu()
                for part in torch.split(present, _BATCH)
            ]
        return torch.cat(parts)

    @cached_property
    def whole(self) -> float:
        """Share of the answer that the whole sample gets: 1 of a regression, the probability else."""
        return float(self.shares(torch.ones(1, self.pieces.num, dtype=torch.bool)))
