"""The frozen leading blocks: what enters the first tuned block, computed or read from the cache."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import Final

import torch
from torch import Tensor

from trainables.activations import Activations, Chain, open_activations
from trainables.augmentation import Augmentation
from trainables.backbones import Backbone
from trainables.batches import eval_batches
from trainables.config import Precision
from trainables.data import Split, Task
from trainables.execution import Execution
from trainables.freezing import module_digest
from trainables.precision import autocast, uses_bf16
from trainables.preprocessing import State
from trainables.splitting import InParts

__all__ = ["Prefix"]

_LIBRARIES: Final = ("torch", "torchvision", "timm", "transformers")
"""Whose code the blocks run: another version may round differently."""


class Prefix:
    """Blocks 0 to ``depth - 1`` of a backbone on a task, in eval mode and without gradients.

    Args:
        backbone: on `device`. Its leading blocks must not change while this is in use.
        digests: sha256 of its blocks, as `trainables.freezing.block_digests` gives them.
        depth: in [0, num_blocks]; 0 is the prepared input.
        num_runs: how many runs are expected to share what is cached.
        num_epochs: how often each of them asks for every training and validation sample. Those of other splits
            are asked for once. Both decide whether writing a cache pays.
        augmentation: of training samples, or None.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        depth: int,
        *,
        digests: tuple[str, ...],
        device: torch.device,
        precision: Precision = "auto",
        execution: Execution,
        num_runs: int = 1,
        num_epochs: int = 1,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.depth = depth
        self._blocks = backbone.blocks[:depth]
        self._features = backbone.features
        self._in_parts = InParts(device)
        self._task = task
        self._device = device
        self._precision = precision
        self._execution = execution
        self._num_runs = num_runs
        self._num_epochs = num_epochs
        self._augmentation = augmentation
        self._prepare = task.preprocessing.on_device().to(device)
        self._name = self._recipe(backbone)
        self._digests = digests
        self._opened: dict[tuple[int, int | None], tuple[Split, Activations | None]] = {}

    def batch(self, split: Split, positions: Tensor, *, augmented: bool = False) -> State:
        """What enters block `depth` of the samples at `positions`, on the device.

        Args:
            augmented: as the augmentation, where there is one, was last told by `Augmentation.begin`; of
                the training split.
        """
        augmentation = self._augmentation if augmented else None
        if self.depth and (augmentation is None or augmentation.view is not None):
            activations = self._activations(split, augmentation)
            if activations is not None:
                return activations.batch(positions)
        # Not inference mode: what tuned blocks are fed must be known to autograd.
        with torch.no_grad():
            return self._run(self._inputs(split, positions, augmentation), 0, self.depth)

    def _inputs(self, split: Split, positions: Tensor, augmentation: Augmentation | None) -> State:
        encoded, _ = split.batch(positions)
        moved = self._moved(encoded)
        prepared: State = self._prepare(moved if augmentation is None else augmentation(moved, positions))
        return prepared

    def _moved(self, encoded: State) -> State:
        """To the device: copied from pinned memory, so that nobody waits for the copy."""
        if isinstance(encoded, Tensor):
            pinned = encoded.pin_memory() if self._device.type == "cuda" else encoded
            return pinned.to(self._device, non_blocking=True)
        parts = tuple(self._moved(part) for part in encoded)
        return tuple(part for part in parts if isinstance(part, Tensor))

    def _run(self, state: State, start: int, stop: int) -> State:
        def blocks(state: State) -> State:
            with autocast(self._precision, self._device):
                return self._features(state, start, stop)

        return self._in_parts(blocks, state, name=start)

    def _activations(self, split: Split, augmentation: Augmentation | None) -> Activations | None:
        key = id(split), None if augmentation is None else augmentation.view
        if key not in self._opened:
            is_of_epochs = split is self._task.train or split is self._task.val
            epochs = float(self._num_epochs) if is_of_epochs else 1.0
            if augmentation is not None:
                epochs /= augmentation.num_views
            # Opened at the first evaluation they would be tensors that no training step can use.
            with torch.inference_mode(False), torch.no_grad():
                found = open_activations(
                    self._chain(split, augmentation),
                    self.depth,
                    execution=self._execution,
                    num_passes=self._num_runs * epochs,
                )
            # The split is kept as well: once it were gone another could get its id.
            self._opened[key] = split, found
        return self._opened[key][1]

    def _chain(self, split: Split, augmentation: Augmentation | None) -> Chain:
        rows = hashlib.sha256(split.rows.numpy().tobytes()).hexdigest()
        shown = "" if augmentation is None else f"{augmentation.name}:{augmentation.view}"
        data = f"{self._name};{self._task.digest};{rows};{shown}"
        return Chain(
            keys=tuple(f"{data};{','.join(self._digests[:depth])}" for depth in range(self.depth + 1)),
            inputs=lambda positions: self._inputs(split, positions, augmentation),
            run=self._run,
            batches=eval_batches(split),
            device=self._device,
            precision=torch.bfloat16 if uses_bf16(self._precision, self._device) else torch.float32,
        )

    def _recipe(self, backbone: Backbone) -> str:
        """All that decides what crosses a boundary, but weights and data."""
        return json.dumps(
            {
                "backbone": backbone.spec.name,
                "convolutions": "trimmed",
                "prepare": [type(self._prepare).__name__, module_digest(self._prepare)],
                "bf16": uses_bf16(self._precision, self._device),
                "device": self._device.type if self._device.type == "cpu" else torch.cuda.get_device_name(self._device),
                "versions": {name: version(name) for name in _LIBRARIES},
            }
        )
