"""The freezing axis: what trains, what cannot move, and the proof that it did not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain

from torch import Tensor

from trainables.backbones import Backbone
from trainables.errors import InvalidConfig

__all__ = ["freeze", "frozen_digest"]


def freeze(backbone: Backbone, freeze_depth: int) -> None:
    """Freeze the first `freeze_depth` blocks, in place; the rest and the head train.

    Frozen blocks get no gradients and stay in eval mode (see `Backbone.train`): norm statistics and
    dropout included.

    Args:
        freeze_depth: in [0, num_blocks]. 0 tunes everything, num_blocks is a linear probe.

    Raises:
        InvalidConfig: `freeze_depth` is outside that range.
    """
    if not 0 <= freeze_depth <= backbone.num_blocks:
        raise InvalidConfig(
            f"freeze_depth must be in [0, {backbone.num_blocks}] for {backbone.spec.name}, "
            f"which has {backbone.num_blocks} blocks; got {freeze_depth}"
        )
    backbone.frozen = frozenset(range(freeze_depth))
    for index, block in enumerate(backbone.blocks):
        block.requires_grad_(index >= freeze_depth)
    backbone.head.requires_grad_(True)
    backbone.train(backbone.training)


def frozen_digest(backbone: Backbone) -> str:
    """sha256 over every parameter and buffer of the frozen blocks, names included.

    Equal before and after training, or something frozen has moved.
    """
    digest = hashlib.sha256()
    for name, tensor in _frozen_tensors(backbone):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _frozen_tensors(backbone: Backbone) -> Iterator[tuple[str, Tensor]]:
    for index in sorted(backbone.frozen):
        block = backbone.blocks[index]
        # Not its state_dict: that lacks the buffers a library declares non-persistent.
        for name, tensor in chain(block.named_parameters(), block.named_buffers()):
            yield f"{index}.{name}", tensor
