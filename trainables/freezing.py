"""The freezing axis: what trains, what cannot move, and the proof that it did not."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.errors import InvalidConfig

__all__ = [
    "block_digests",
    "copy_tuned",
    "first_tuned",
    "freeze",
    "frozen_checksum",
    "frozen_digest",
    "module_digest",
    "moving_state",
]

_INTEGERS: Final = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

_Versions: TypeAlias = tuple[int, ...]

_digests: WeakKeyDictionary[Backbone, tuple[_Versions, tuple[str, ...]]] = WeakKeyDictionary()


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
    tuned = _tuned(backbone, start, stop)
    backbone.frozen = frozenset(range(backbone.num_blocks)).difference(tuned)
    for index, block in enumerate(backbone.blocks):
        block.requires_grad_(index in tuned)
    backbone.head.requires_grad_(True)
    backbone.train(backbone.training)


def copy_tuned(pretrained: Backbone, start: int, stop: int | None = None) -> Backbone:
    """A backbone frozen as `freeze` does, with tensors of its own where it is tuned.

    Frozen blocks are the copy's own modules over the tensors of `pretrained`: nothing writes to them, and
    a large backbone of which a small part is tuned costs no second copy.

    Raises:
        InvalidConfig: as `freeze`.
    """
    tuned = _tuned(pretrained, start, stop)
    shared: dict[int, object] = {}
    for index, block in enumerate(pretrained.blocks):
        if index not in tuned:
            shared.update((id(p), nn.Parameter(p.detach(), requires_grad=False)) for p in block.parameters())
            shared.update((id(b), b.detach()) for b in block.buffers())
    backbone = copy.deepcopy(pretrained, shared)
    freeze(backbone, start, stop)
    return backbone


def first_tuned(backbone: Backbone) -> int:
    """Index of the first tuned block; num_blocks where every block is frozen."""
    return min(set(range(backbone.num_blocks)) - backbone.frozen, default=backbone.num_blocks)


def block_digests(pretrained: Backbone) -> tuple[str, ...]:
    """sha256 over every parameter and buffer of each block, names included.

    Remembered until one of them is replaced or written to: a pretrained backbone is the same in every
    trial, and reading a large one at the 1.5 GB/s of the hash takes longer than many a probe.
    """
    # A version counts the writes to a tensor; one put in its place has another address.
    tensors = chain.from_iterable(_tensors(block) for block in pretrained.blocks)
    versions = tuple(number for _, t in tensors for number in (t._version, t.data_ptr()))
    known = _digests.get(pretrained)
    if known is None or known[0] != versions:
        known = versions, tuple(module_digest(block) for block in pretrained.blocks)
        _digests[pretrained] = known
    return known[1]


def weights_digest(pretrained: Backbone) -> str:
    """sha256 over the digests of all blocks: names the weights a study begins with, wherever they came from."""
    return hashlib.sha256(";".join(block_digests(pretrained)).encode()).hexdigest()


def frozen_digest(backbone: Backbone, digests: tuple[str, ...] | None = None) -> str:
    """sha256 over the digests of the frozen blocks and their places: names what a trial stands on.

    Args:
        digests: of all blocks, where they are known; see `block_digests`.
    """
    if digests is None:
        digests = tuple(module_digest(block) for block in backbone.blocks)
    text = ";".join(f"{index}:{digests[index]}" for index in sorted(backbone.frozen))
    return hashlib.sha256(text.encode()).hexdigest()


def frozen_checksum(backbone: Backbone) -> tuple[int, ...]:
    """Sums of the bits, read as integers modulo 2**64, of every parameter and buffer of the frozen blocks.

    Equal before and after training, or something frozen has moved. A sum is computed where the tensor is,
    at the speed of its memory: cheap enough for every epoch, which a cryptographic hash is not.
    """
    tensors = [t.detach() for index in sorted(backbone.frozen) for _, t in _tensors(backbone.blocks[index])]
    sums = [t.view(_INTEGERS[t.element_size()]).sum(dtype=torch.int64) for t in tensors if not t.is_complex()]
    sums += [torch.view_as_real(t).view(torch.int32).sum(dtype=torch.int64) for t in tensors if t.is_complex()]
    return tuple(torch.stack(sums).tolist()) if sums else ()


def moving_state(backbone: Backbone) -> dict[str, Tensor]:
    """Parameters and buffers of the tuned blocks and the head, by their name in the backbone: the first of several."""
    tuned = [(f"blocks.{i}", block) for i, block in enumerate(backbone.blocks) if i not in backbone.frozen]
    named = {
        f"{prefix}.{name}": tensor
        for prefix, part in [*tuned, ("head", backbone.head)]
        for name, tensor in part.state_dict().items()
    }
    firsts: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in named.items():
        firsts.setdefault((tensor.data_ptr(), tensor.shape), name)
    return {name: named[name] for name in firsts.values()}


def module_digest(module: nn.Module) -> str:
    """sha256 over every parameter and buffer, names included."""
    digest = hashlib.sha256()
    for name, tensor in _tensors(module):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _tuned(backbone: Backbone, start: int, stop: int | None) -> range:
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
    return range(start, num if stop is None else stop)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # Not its state_dict: that lacks the buffers a library declares non-persistent.
    return chain(module.named_parameters(), module.named_buffers())
