"""A fine-tuned network on its task, as evaluations see it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from trainables.backbones import Backbone, replace_head
from trainables.batches import eval_batches
from trainables.data import Split
from trainables.finetune import Finetuner
from trainables.freezing import block_digests, copy_tuned
from trainables.frozen_features import FrozenFeatures
from trainables.precision import autocast
from trainables.prefix import Prefix
from trainables.preprocessing import State
from trainables.probe import fit_head

__all__ = ["Subject"]

MAX_FEATURE_BYTES: Final = 2**30
"""Of the features that a head is fitted to at once."""


class Subject:
    """θ' (tuned) and θ (pretrained) on one task.

    Evaluators may not change a parameter or buffer of either, and leave the global random generators alone.

    Args:
        finetuner: holding the weights that are to be measured.
    """

    def __init__(self, finetuner: Finetuner) -> None:
        self.finetuner = finetuner
        self.config = finetuner.config
        self.task = finetuner.task
        self.objective = finetuner.task.objective
        self.device = finetuner.device
        self.tuned = finetuner.backbone.eval()
        """θ' with its head, on `device`, in eval mode."""
        self.pretrained = finetuner.pretrained
        """θ as it was built, with the head it came with; not necessarily on `device`."""
        self._prepare = finetuner.task.preprocessing.on_device().to(self.device)

    def encoded(self, split: Split, positions: Tensor) -> State:
        """Samples as they are stored, on the device: uint8 pixels (batch, 3, side, side), or token numbers,
        or sounds, as `trainables.data.samples` gives them."""
        samples, _ = split.batch(positions)
        return (
            samples.to(self.device) if isinstance(samples, Tensor) else tuple(part.to(self.device) for part in samples)
        )

    def prepared(self, encoded: State) -> State:
        """What enters block 0: normalised pixels; texts and sounds as they are."""
        prepared: State = self._prepare(encoded)
        return prepared

    def outputs(self, prepared: State) -> Tensor:
        """Of θ' and its head, float32 (batch, num_outputs); differentiable with respect to `prepared`."""
        with autocast(self.config.precision, self.device):
            outputs: Tensor = self.tuned(prepared)
        return outputs.float()

    def predict(self, split: Split) -> Tensor:
        """Outputs of θ' for a whole split in its order, float32 (n, num_outputs) on the CPU; what is frozen is
        read from the cache of activations where there is one."""
        return self.finetuner.predict(split)[0]

    @cached_property
    def probe(self) -> Backbone:
        """θ with a head fitted to the training split (`trainables.probe.fit_head`), on `device`, in eval mode.

        Deterministic: the same for every run of a backbone on a task. Of features that would take more than
        `MAX_FEATURE_BYTES` in memory an even share of the samples is fitted to.
        """
        backbone = self._frozen.backbone
        splits = [self._fitting_part(split) for split in (self.task.train, self.task.val)]
        train, val = ((self._frozen.of(split), split.targets.to(self.device)) for split in splits)
        weight = None
        if self.config.class_weight == "balanced":
            weight = self.objective.balanced_weight(self.task.train.targets).to(self.device)
        fit_head(backbone.head, self.objective, train, val, weight)
        self._frozen.forget(*splits)
        return backbone.eval()

    def predict_probe(self, split: Split) -> Tensor:
        """Outputs of `probe` for a whole split in its order, float32 (n, num_outputs) on the CPU."""
        head = self.probe.head
        batches = eval_batches(split)
        with torch.inference_mode(), autocast(self.config.precision, self.device):
            parts = [head(self._frozen.batch(split, positions)).float().cpu() for positions in batches]
        return torch.cat(parts)[torch.cat(batches).argsort()]

    @cached_property
    def _frozen(self) -> FrozenFeatures:
        backbone = copy_tuned(self.pretrained, self.pretrained.num_blocks)
        replace_head(backbone, self.objective.num_outputs, seed=0)
        backbone = backbone.to(self.device).to(memory_format=torch.channels_last).eval()
        prefix = Prefix(
            backbone,
            self.task,
            backbone.num_blocks,
            digests=block_digests(self.pretrained),
            device=self.device,
            precision=self.config.precision,
            execution=self.finetuner.execution,
            num_runs=self.finetuner.num_runs,
        )
        return FrozenFeatures(backbone, prefix, self.config.precision, self.device)

    def _fitting_part(self, split: Split) -> Split:
        num_bytes = self._frozen.batch(split, torch.zeros(1, dtype=torch.int64)).nbytes * len(split)
        if num_bytes <= MAX_FEATURE_BYTES:
            return split
        positions = torch.arange(0, len(split), math.ceil(num_bytes / MAX_FEATURE_BYTES))
        return replace(split, rows=split.rows[positions], targets=split.targets[positions])
