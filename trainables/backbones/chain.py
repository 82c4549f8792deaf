"""A backbone as an exact chain of blocks: everything about depth follows from this one type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from trainables.catalog import BackboneSpec

__all__ = ["Backbone", "Preprocessing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How the checkpoint was fed. Values are the checkpoint's own, never a guess."""

    input_size: int
    """Side in pixels the checkpoint was trained or published at."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Per channel, of pixels scaled to [0, 1]."""

    interpolation: str
    """``bilinear`` or ``bicubic``."""

    crop_frac: float
    """Side of the central crop as a share of the resized side, in (0, 1]."""


class Backbone(nn.Module):
    """``head(blocks[n-1](... blocks[0](x)))``, equal to the bit to the source's model in eval mode.

    Args:
        spec: what was asked for.
        blocks: from the input side; the stem is block 0. Each maps one tensor to one tensor.
        head: maps the last block's features to one logit per class.
        preprocessing: the checkpoint's own.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        blocks: list[nn.Module],
        head: nn.Module,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.preprocessing = preprocessing
        self.frozen: frozenset[int] = frozenset()

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, num_classes), of a normalised batch (batch, 3, side, side)."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Run blocks ``start`` to ``stop`` (exclusive; None is all) on what enters block `start`."""
        for block in self.blocks[start:stop]:
            x = block(x)
        return x

    def train(self, mode: bool = True) -> Self:
        """Set train or eval mode; frozen blocks stay in eval mode whatever is asked.

        ``requires_grad = False`` alone leaves BatchNorm's running statistics moving and dropout on
        (pytorch/pytorch#86590), and a probe then reads far more than the frozen features hold.
        """
        super().train(mode)
        for index in self.frozen:
            self.blocks[index].eval()
        return self
