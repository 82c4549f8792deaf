"""What a wholly frozen backbone makes of every sample of a task, held in memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from trainables.backbones import Backbone
from trainables.batches import eval_batches
from trainables.config import Precision
from trainables.data import Split
from trainables.errors import FrozenMoved
from trainables.freezing import frozen_checksum
from trainables.precision import autocast
from trainables.prefix import Prefix

__all__ = ["FrozenFeatures"]


class FrozenFeatures:
    """Features of each split, computed when they are asked for first.

    Args:
        backbone: frozen to its end, on `device`.
        prefix: of all its blocks.
    """

    def __init__(self, backbone: Backbone, prefix: Prefix, precision: Precision, device: torch.device) -> None:
        self.backbone = backbone
        self._prefix = prefix
        self._precision = precision
        self._device = device
        self._checksum = frozen_checksum(backbone)
        self._held: dict[int, Tensor] = {}

    @property
    def num_bytes(self) -> int:
        """Of what is held now."""
        return sum(features.nbytes for features in self._held.values())

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
            self._held[id(split)] = features
        return self._held[id(split)]

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
