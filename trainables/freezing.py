"""The freezing axis: what trains, what cannot move, and the proof that it did not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain

from torch import Tensor

from trainables.backbones import Backbone
from trainables.errors import InvalidConfig

__all__ = ["freeze", "frozen_digest", "moving_state"]


def freeze(backbone: Backbone, start: int, stop: int | None = None) -> None:
    """Tune blocks `start` to ``stop - 1`` and the head, and freeze every other block, in place.

    Frozen blocks get no gradients of their own and stay in eval mode (see `Backbone.train`): norm
    statistics and dropout included. Gradients still flow through frozen blocks behind the window.

    Args:
        start: in [0, num_blocks]: the freeze depth. num_blocks is a linear probe.
        stop: in (start, num_blocks]; None is num_blocks.

    Raises:
        InvalidConfig: the window is outside that range.
    """
    num = backbone.num_blocks
    if not 0 <= start <= num:
        raise InvalidConfig(
            f"freeze_depth must be in [0, {num}] for {backbone.spec.name}, which has {num} blocks; got {start}"
        )
    if stop is not None and not start < stop <= num:
        raise InvalidConfig(
            f"tune_window must end in [{start + 1}, {num}] for {backbone.spec.name}, which has {num} blocks; "
            f"got ({start}, {stop})"
        )
    tuned = range(start, num if stop is None else stop)
    backbone.frozen = frozenset(range(num)).difference(tuned)
    for index, block in enumerate(backbone.blocks):
        block.requires_grad_(index in tuned)
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


def moving_state(backbone: Backbone) -> dict[str, Tensor]:
    """Parameters and buffers of the tuned blocks and the head, by their name in the backbone."""
    tuned = [(f"blocks.{i}", block) for i, block in enumerate(backbone.blocks) if i not in backbone.frozen]
    return {
        f"{prefix}.{name}": tensor
        for prefix, part in [*tuned, ("head", backbone.head)]
        for name, tensor in part.state_dict().items()
    }


def _frozen_tensors(backbone: Backbone) -> Iterator[tuple[str, Tensor]]:
    for index in sorted(backbone.frozen):
        block = backbone.blocks[index]
        # Not its state_dict: that lacks the buffers a library declares non-persistent.
        for name, tensor in chain(block.named_parameters(), block.named_buffers()):
            yield f"{index}.{name}", tensor
