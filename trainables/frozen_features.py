"""What a wholly frozen backbone makes of every sample of a task, held in memory."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.func import functional_call

from trainables.backbones import Backbone, replace_head
from trainables.batches import eval_batches
from trainables.config import Precision
from trainables.data import Split, Task
from trainables.errors import FrozenMoved
from trainables.execution import Execution
from trainables.freezing import block_digests, copy_tuned, frozen_checksum
from trainables.precision import autocast
from trainables.prefix import Prefix
from trainables.probe import fit_head

__all__ = ["FrozenFeatures", "fit_frozen_head", "whole_frozen"]

MAX_FITTED_BYTES: Final = 2**30
"""Of the features that a head is fitted to at once."""


class FrozenFeatures:
    """Features of each split, computed when they are asked for first.

    Args:
        backbone: in eval mode, on `device`; nothing tunes it while this is in use.
        prefix: of all its blocks.
    """

    def __init__(self, backbone: Backbone, prefix: Prefix, precision: Precision, device: torch.device) -> None:
        self.backbone = backbone
        self._prefix = prefix
        self._precision = precision
        self._device = device
        self._checksum = frozen_checksum(backbone)
        self._held: dict[int, tuple[Split, Tensor]] = {}

    @property
    def num_bytes(self) -> int:
        """Of what is held now."""
        return sum(features.nbytes for _, features in self._held.values())

    def of(self, split: Split) -> Tensor:
        """Of every sample of a split in its order: shape (n, ...), on the device.

        Raises:
            FrozenMoved: a tensor of the backbone has changed.
        """
        if id(split) not in self._held:
            batches = eval_batches(split)
            features = torch.cat([self.batch(split, positions) for positions in batches])
            if split.lengths is not None:
                features = features[torch.cat(batches).argsort().to(self._device)]
            if frozen_checksum(self.backbone) != self._checksum:
                raise FrozenMoved(
                    f"a tensor in the {len(self.backbone.frozen)} frozen blocks of {self.backbone.spec.name} "
                    "changed while its features were computed"
                )
            # The split is held as well: once it were gone another could get its id.
            self._held[id(split)] = split, features
        return self._held[id(split)][1]

    def batch(self, split: Split, positions: Tensor) -> Tensor:
        """Of the samples at `positions`, as the last block gives them; nothing is held."""
        features = self._prefix.batch(split, positions)
        if not isinstance(features, Tensor):
            raise TypeError(f"{self.backbone.spec.name}: the last block must give one tensor")
        return features

    def predict(self, parameters: dict[str, Tensor], split: Split) -> Tensor:
        """Outputs (n, num_outputs) of a head in eval mode, float32 on the CPU, in the split's order.

        Args:
            parameters: of the head, which is otherwise the backbone's.
        """
        head = self.backbone.head.eval()
        parts = torch.split(self.of(split), [len(batch) for batch in eval_batches(split)])
        with torch.inference_mode(), autocast(self._precision, self._device):
            return torch.cat([functional_call(head, parameters, (part,)).float().cpu() for part in parts])

    def forget(self, *splits: Split) -> None:
        """Let go of what is held of `splits`."""
        for split in splits:
            self._held.pop(id(split), None)


def whole_frozen(
    pretrained: Backbone,
    task: Task,
    device: torch.device,
    *,
    precision: Precision,
    execution: Execution,
    num_runs: int,
    num_epochs: int = 1,
) -> FrozenFeatures:
    """Of a copy of `pretrained` with every block frozen and a new head of the task's width.

    Args:
        num_runs: how many runs are expected to need these features.
        num_epochs: how often each of them does. Both decide whether a cache of them pays.
    """
    backbone = copy_tuned(pretrained, pretrained.num_blocks)
    replace_head(backbone, task.objective.num_outputs, seed=0)
    backbone = backbone.to(device).to(memory_format=torch.channels_last).eval()
    prefix = Prefix(
        backbone,
        task,
        backbone.num_blocks,
        digests=block_digests(pretrained),
        device=device,
        precision=precision,
        execution=execution,
        num_runs=num_runs,
        num_epochs=num_epochs,
    )
    return FrozenFeatures(backbone, prefix, precision, device)


def fit_frozen_head(features: FrozenFeatures, task: Task, weight: Tensor | None) -> None:
    """Fit the head of the features' backbone to the training split, in place (`trainables.probe.fit_head`).

    Of features that would take more than `MAX_FITTED_BYTES` in memory an even share of the samples is fitted to.

    Args:
        weight: of the loss, as `Objective.balanced_weight` gives it, on the device; or None.
    """
    splits = [_fitted_share(features, split) for split in (task.train, task.val)]
    held = [features.of(split) for split in splits]
    train, val = ((held, split.targets.to(held.device)) for held, split in zip(held, splits, strict=True))
    fit_head(features.backbone.head, task.objective, train, val, weight)
    features.forget(*splits)


def _fitted_share(features: FrozenFeatures, split: Split) -> Split:
    num_bytes = features.batch(split, torch.zeros(1, dtype=torch.int64)).nbytes * len(split)
    if num_bytes <= MAX_FITTED_BYTES:
        return split
    positions = torch.arange(0, len(split), math.ceil(num_bytes / MAX_FITTED_BYTES))
    return split.at(positions)
