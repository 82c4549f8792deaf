"""A fine-tuned network on its task, as evaluations see it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Final

import torch
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.batches import eval_batches
from trainables.data import Split
from trainables.finetune import Finetuner
from trainables.frozen_features import FrozenFeatures, fit_frozen_head, whole_frozen
from trainables.objective import loss_weight
from trainables.precision import autocast
from trainables.preprocessing import State

__all__ = ["Subject"]

MEASURED: Final = 10_000
"""Training samples that suffice to say how well they are known."""


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
        self._predicted: dict[tuple[str, int], tuple[Split, Tensor]] = {}
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

    def differentiable(self) -> AbstractContextManager[None]:
        """Where gradients pass through θ' in eval mode: cuDNN's recurrent layers have none then."""
        is_recurrent = any(isinstance(module, nn.RNNBase) for module in self.tuned.modules())
        return torch.backends.cudnn.flags(enabled=False) if is_recurrent else nullcontext()

    def predict(self, split: Split) -> Tensor:
        """Outputs of θ' for a whole split in its order, float32 (n, num_outputs) on the CPU; what is frozen is
        read from the cache of activations where there is one. Computed once; do not write to it."""
        return self._once("tuned", split, lambda: self.finetuner.predict(split)[0])

    @cached_property
    def measured_train(self) -> Split:
        """The training samples that are measured: all, or an even share of at least `MEASURED`."""
        train = self.task.train
        positions = torch.arange(0, len(train), max(1, len(train) // MEASURED))
        return train if len(positions) == len(train) else train.at(positions)

    @cached_property
    def frozen(self) -> FrozenFeatures:
        """Features of θ, which is on `device` and in eval mode there; its new head is fitted by `probe` alone."""
        return whole_frozen(
            self.pretrained,
            self.task,
            self.device,
            precision=self.config.precision,
            execution=self.finetuner.execution,
            num_runs=self.finetuner.num_runs,
        )

    @cached_property
    def probe(self) -> Backbone:
        """θ with a head fitted to the training split (`trainables.probe.fit_head`), on `device`, in eval mode.

        Deterministic: the same for every run of a backbone on a task with one `class_weight`.
        """
        weight = loss_weight(self.config, self.objective, self.task.train.targets, self.device)
        fit_frozen_head(self.frozen, self.task, weight)
        return self.frozen.backbone.eval()

    def predict_probe(self, split: Split) -> Tensor:
        """Outputs of `probe` for a whole split in its order, float32 (n, num_outputs) on the CPU. Computed once;
        do not write to it."""
        return self._once("probe", split, lambda: self._probe_outputs(split))

    def _once(self, whose: str, split: Split, predict: Callable[[], Tensor]) -> Tensor:
        key = whose, id(split)
        if key not in self._predicted:
            # The split is kept as well: once it were gone another could get its id.
            self._predicted[key] = split, predict()
        return self._predicted[key][1]

    def _probe_outputs(self, split: Split) -> Tensor:
        head = self.probe.head
        batches = eval_batches(split)
        with torch.inference_mode(), autocast(self.config.precision, self.device):
            parts = [head(self.frozen.batch(split, positions)).float().cpu() for positions in batches]
        return torch.cat(parts)[torch.cat(batches).argsort()]
