"""A backbone as an exact chain of blocks: everything about depth follows from this one type."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from trainables.catalog import BackboneSpec
from trainables.errors import InvalidConfig
from trainables.preprocessing import Preprocessing, State

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """``head(blocks[n-1](... blocks[0](x)))``, equal to the bit to the source's model in eval mode.

    Args:
        spec: what was asked for.
        blocks: from the input side; the stem, or the embeddings, are block 0. Each takes what the one
            before it gives: a tensor, or a tuple of tensors. The last gives one tensor, the features.
        head: maps the last block's features to one logit per class.
        preprocessing: the checkpoint's own.
        has_trained_head: whether the head was trained with the blocks, so that its outputs say something.
        revision: commit of the checkpoint on the hub; None where it is from elsewhere.

    Raises:
        InvalidConfig: two blocks, or a block and the head, share a parameter: none of them could be
            frozen without the other.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        blocks: list[nn.Module],
        head: nn.Module,
        preprocessing: Preprocessing,
        *,
        has_trained_head: bool = False,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.preprocessing = preprocessing
        self.has_trained_head = has_trained_head
        self.revision = revision
        self.frozen: frozenset[int] = frozenset()
        self._require_separate_parts()

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    def forward(self, x: State) -> Tensor:
        """Logits, shape (batch, num_classes), of a batch as `preprocessing` describes it."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: State, start: int = 0, stop: int | None = None) -> State:
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

    def _require_separate_parts(self) -> None:
        owner: dict[int, int] = {}
        for index, part in enumerate([*self.blocks, self.head]):
            for name, parameter in part.named_parameters():
                if owner.setdefault(id(parameter), index) != index:
                    raise InvalidConfig(
                        f"{self.spec.name}: parts {owner[id(parameter)]} and {index} share the parameter {name!r}; "
                        "layers with tied weights must be in one block"
                    )
