"""Linear probes of one study, trained together in one vectorised pass.

Where every block is frozen a run is a head on features that are computed once. Such runs that differ in
seed, learning rate, weight decay or schedule do the same arithmetic on numbers of their own, a batch at a
time: stacked, many of them cost little more than one, and each result is that of its own run within the
rounding of float32.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from trainables.backbones import Backbone
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.data import Task
from trainables.errors import Diverged, InvalidConfig
from trainables.execution import Execution
from trainables.finetune import default_device
from trainables.fitting import require_fitting_images
from trainables.freezing import block_digests, frozen_digest
from trainables.frozen_features import whole_frozen
from trainables.measurement import TestMeasurement
from trainables.probe_capacity import probe_capacity
from trainables.probe_group import is_probe, probe_group
from trainables.probe_training import ProbeTraining
from trainables.validation import epoch_metrics, require_best, require_finite

__all__ = ["ProbeGroup", "ProbeRun", "probe_capacity", "probe_group"]

_AS_USUAL: Final = Execution()


class ProbeGroup:
    """Linear probes of one backbone on one task that are trained together.

    The first run that asks for an epoch has all runs trained for it; the others then read their own.

    Args:
        configs: of one `probe_group`, with every block frozen; equal ones share a run.
        pretrained: a backbone as built; it is not changed.
        task: data, preprocessed as this backbone wants them.
        device: None is `default_device()`.
        execution: how features are computed.
        num_runs: how many runs, others included, are expected to need the features; decides whether a cache
            of them pays.

    Raises:
        ValueError: the configurations are of several groups, or none.
        InvalidConfig: a block would be tuned, images are augmented, or the backbone cannot take the images.
        DataError: the loss shall be weighted by class and the task has no classes.
    """

    def __init__(
        self,
        configs: Sequence[FinetuneConfig],
        pretrained: Backbone,
        task: Task,
        device: torch.device | None = None,
        execution: Execution = _AS_USUAL,
        num_runs: int = 1,
    ) -> None:
        if len({probe_group(config) for config in configs}) != 1:
            raise ValueError("a ProbeGroup takes configurations with one value of probe_group")
        shared, num_blocks = configs[0], pretrained.num_blocks
        if wrong := [config for config in configs if not is_probe(config, num_blocks)]:
            raise InvalidConfig(
                f"linear probes must have freeze_depth {num_blocks}, no tune_window and augmentation none; "
                f"got {wrong[0]}"
            )
        require_fitting_images(pretrained, task)
        self.configs = tuple(dict.fromkeys(configs))
        self.task = task
        self.device = device or default_device()
        self._features = whole_frozen(
            pretrained,
            task,
            self.device,
            precision=shared.precision,
            execution=execution,
            num_runs=max(num_runs, len(self.configs)),
            num_epochs=shared.max_epochs,
        )
        self.backbone = self._features.backbone
        """Frozen. Its head has the shape of every member's and is none of them."""

        self.frozen_digest = frozen_digest(self.backbone, block_digests(pretrained))
        self._training: ProbeTraining | None = None
        self._records = tuple(_Record() for _ in self.configs)

    def run(self, config: FinetuneConfig) -> ProbeRun:
        """A run of one of the configurations, from its start.

        Raises:
            KeyError: it is none of them.
        """
        if config not in self.configs:
            raise KeyError(config)
        return ProbeRun(self, self.configs.index(config))

    @property
    def members(self) -> tuple[ProbeRun, ...]:
        """A run of each of `configs`."""
        return tuple(ProbeRun(self, index) for index in range(len(self.configs)))

    @property
    def num_bytes(self) -> int:
        """Of all that is held now for its members: features, heads and what trains them."""
        heads = sum(t.nbytes for record in self._records for state in record.states.values() for t in state.values())
        return heads + self._features.num_bytes + (0 if self._training is None else self._training.num_bytes)

    def _outcome(self, index: int, epoch: int) -> EpochMetrics | Diverged:
        """Of a member's epoch, 0-based: all members are trained for it unless they have been before."""
        while len(self._records[index].outcomes) <= epoch:
            self._advance()
        return self._records[index].outcomes[epoch]

    def _advance(self) -> None:
        """Train every member for one more epoch and validate it."""
        started = time.perf_counter()
        if self._training is None:
            self._training = ProbeTraining(self.configs, self.backbone, self._features, self.task, self.device)
        training = self._training
        losses = training.train_pass()
        trained = time.perf_counter()
        ended = [self._validate(training, index, loss) for index, loss in enumerate(losses)]
        num = len(self.configs)
        train_s, eval_s = (trained - started) / num, (time.perf_counter() - trained) / num
        for record, (outcome, state) in zip(self._records, ended, strict=True):
            if isinstance(outcome, EpochMetrics):
                outcome = replace(outcome, train_s=train_s, eval_s=eval_s)
            record.add(outcome, state)
        if training.num_epochs == self.configs[0].max_epochs:
            self._training = None
            self._features.forget(self.task.train, self.task.val)

    def _validate(
        self, training: ProbeTraining, index: int, train_loss: float
    ) -> tuple[EpochMetrics | Diverged, dict[str, Tensor]]:
        """What a member's epoch came to, and its head."""
        epoch, objective = training.num_epochs, self.task.objective
        state = training.parameters(index)
        try:
            require_finite("train", train_loss, epoch)
            val = objective.quality(self._features.predict(state, self.task.val), self.task.val.targets)
            require_finite("validation", val.loss, epoch)
        except Diverged as diverged:
            return diverged, {}
        metrics = epoch_metrics(
            val,
            objective.metric,
            epoch=epoch,
            step=epoch * training.steps_per_epoch,
            train_loss=train_loss,
            train_s=0.0,
            eval_s=0.0,
            best=self._records[index].best,
        )
        return metrics, state

    def _measure_test(self, index: int, best: EpochMetrics) -> TestMeasurement:
        test = self.task.test
        outputs = self._features.predict(self._records[index].states[best.epoch], test)
        return TestMeasurement.of(self.task.objective, outputs, test.targets)


class ProbeRun:
    """One member's run: reads like a `trainables.finetune.Finetuner`.

    `train_s` and `eval_s` of its epochs are the group's seconds divided by its members; those of the first
    epoch include the features.
    """

    def __init__(self, group: ProbeGroup, index: int) -> None:
        self._group = group
        self._index = index
        self.config = group.configs[index]
        self.epoch = 0
        self.best: EpochMetrics | None = None

    @property
    def task(self) -> Task:
        return self._group.task

    @property
    def device(self) -> torch.device:
        return self._group.device

    @property
    def backbone(self) -> Backbone:
        """The group's; see there for its head."""
        return self._group.backbone

    @property
    def frozen_digest(self) -> str:
        return self._group.frozen_digest

    @property
    def num_params(self) -> int:
        return sum(p.numel() for p in self.backbone.parameters())

    @property
    def num_params_trainable(self) -> int:
        return sum(p.numel() for p in self.backbone.head.parameters())

    def train_epoch(self) -> EpochMetrics:
        """Train for one pass and validate, or read what was trained for this run before.

        Raises:
            ValueError: all epochs have been trained.
            Diverged: the training or validation loss is not finite; other members are not concerned.
            FrozenMoved: a frozen tensor changed.
        """
        if self.epoch == self.config.max_epochs:
            raise ValueError(f"all {self.epoch} epochs have been trained")
        outcome = self._group._outcome(self._index, self.epoch)
        if isinstance(outcome, Diverged):
            raise Diverged(str(outcome))
        self.epoch = outcome.epoch
        if outcome.is_best:
            self.best = outcome
        return outcome

    def go_on_after(self, epoch: int) -> None:
        """Train this run's first `epoch` epochs again, so that `train_epoch` goes on with the next.

        A member keeps no checkpoint: its group is trained again from the seeds, which takes seconds and gives
        the same to the bit. Trained among other members than before it is the same within the rounding of
        float32.

        Args:
            epoch: in [0, max_epochs]; those that this run has gone through already are not gone through again.

        Raises:
            ValueError: `epoch` is beyond max_epochs.
            Diverged, FrozenMoved: as `train_epoch`.
        """
        while self.epoch < epoch:
            self.train_epoch()

    def measure_test(self) -> TestMeasurement:
        """Measure the best epoch's head on the test split; training may go on afterwards.

        Raises:
            ValueError: no epoch has been completed.
        """
        return self._group._measure_test(self._index, require_best(self.best))


class _Record:
    """What one member has come to so far."""

    def __init__(self) -> None:
        self.outcomes: list[EpochMetrics | Diverged] = []
        self.best: EpochMetrics | None = None
        self.states: dict[int, dict[str, Tensor]] = {}
        """Heads by the epoch that was the best up to it: a run may have read fewer epochs than were trained."""

    def add(self, outcome: EpochMetrics | Diverged, state: dict[str, Tensor]) -> None:
        self.outcomes.append(outcome)
        if isinstance(outcome, EpochMetrics) and outcome.is_best:
            self.best = outcome
            self.states[outcome.epoch] = state
