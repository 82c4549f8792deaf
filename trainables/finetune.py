"""Fine-tune one configuration of one backbone on one task: the loop everything else is built around."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

import torch
from torch import Tensor

from trainables.augmentation import Augmentation, make_augmentation
from trainables.backbones import Backbone, replace_head
from trainables.batches import batch_sizes, epoch_batches, epoch_seed, eval_batches, largest_sample
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.data import Split, Task
from trainables.errors import FrozenMoved
from trainables.execution import Execution
from trainables.fitting import require_fitting_batches, require_fitting_images
from trainables.freezing import (
    block_digests,
    copy_tuned,
    first_tuned,
    frozen_checksum,
    frozen_digest,
    moving_state,
)
from trainables.frozen_features import FrozenFeatures, fit_frozen_head
from trainables.measurement import TestMeasurement
from trainables.objective import loss_weight
from trainables.prefix import Prefix
from trainables.state import TrainingState, require_alike
from trainables.step import TrainStep
from trainables.validation import epoch_metrics, require_best, require_finite

__all__ = ["Finetuner", "default_device"]

_AS_USUAL: Final = Execution()


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Finetuner:
    """Fine-tunes a copy of `pretrained` and remembers the epoch that was best on validation.

    Args:
        config: what to do.
        pretrained: a backbone as built; it is not changed.
        task: data, preprocessed as this backbone wants them.
        device: None is `default_device()`.
        execution: how it is computed.
        num_runs: how many runs are expected to share this one's frozen blocks; decides whether a cache of
            their activations pays.

    Raises:
        InvalidConfig: the freeze depth, the window, the augmentation, the size of the batches or that of the
            images does not fit the backbone.
        DataError: the loss shall be weighted by class and the task has no classes.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        pretrained: Backbone,
        task: Task,
        device: torch.device | None = None,
        execution: Execution = _AS_USUAL,
        num_runs: int = 1,
    ) -> None:
        require_fitting_images(pretrained, task)
        self.config = config
        self.pretrained = pretrained
        self.task = task
        self.device = device or default_device()
        self.epoch = 0
        self.best: EpochMetrics | None = None
        self._best_state: dict[str, Tensor] = {}
        backbone = copy_tuned(pretrained, *(config.tune_window or (config.freeze_depth,)))
        replace_head(backbone, task.objective.num_outputs, config.seed)
        require_fitting_batches(backbone, batch_sizes(len(task.train), config.batch_size))
        self.backbone = backbone.to(self.device).to(memory_format=torch.channels_last)
        self._digests = block_digests(pretrained)
        self.frozen_digest = frozen_digest(self.backbone, self._digests)
        self._frozen_checksum = frozen_checksum(self.backbone)
        self.execution = execution
        self.num_runs = num_runs
        self._augmentation = make_augmentation(config, task)
        self._prefix = self._make_prefix(
            first_tuned(backbone), num_runs, config.max_epochs, augmentation=self._augmentation
        )
        self._weight = loss_weight(config, task.objective, task.train.targets, self.device)
        self._step = TrainStep(
            config,
            self.backbone,
            self._prefix.depth,
            task.objective,
            num_steps=self.steps_per_epoch * config.max_epochs,
            weight=self._weight,
            device=self.device,
            execution=execution,
            largest=largest_sample(task.train),
        )

    @property
    def step(self) -> int:
        """Optimizer updates so far."""
        return self._step.num_done

    @property
    def steps_per_epoch(self) -> int:
        return len(batch_sizes(len(self.task.train), self.config.batch_size))

    @property
    def num_params(self) -> int:
        return sum(p.numel() for p in self.backbone.parameters())

    @property
    def num_params_trainable(self) -> int:
        return sum(p.numel() for p in self.backbone.parameters() if p.requires_grad)

    def epochs(self) -> Iterator[EpochMetrics]:
        """Train to `max_epochs`, yielding what each completed epoch measured.

        Raises:
            Diverged: the training or validation loss is not finite.
            FrozenMoved: a frozen tensor changed.
        """
        while self.epoch < self.config.max_epochs:
            yield self.train_epoch()

    def train_epoch(self) -> EpochMetrics:
        """Train for one pass and validate. Raises as `epochs` does."""
        started = time.perf_counter()
        if self.step == 0 and self.config.head_init == "probe":
            self._fit_head()
        train_loss = self._train_pass()
        trained = time.perf_counter()
        require_finite("train", train_loss, self.epoch + 1)
        val = self.task.objective.quality(*self.predict(self.task.val))
        require_finite("validation", val.loss, self.epoch + 1)
        self._prove_frozen()
        self.epoch += 1
        metrics = epoch_metrics(
            val,
            self.task.objective.metric,
            epoch=self.epoch,
            step=self.step,
            train_loss=train_loss,
            train_s=trained - started,
            eval_s=time.perf_counter() - trained,
            best=self.best,
        )
        if metrics.is_best:
            self.best = metrics
            self._best_state = {name: t.detach().clone() for name, t in moving_state(self.backbone).items()}
        return metrics

    def measure_test(self) -> TestMeasurement:
        """Measure the best epoch's weights on the test split; training may go on afterwards.

        Raises:
            ValueError: no epoch has been completed.
        """
        with self.at_best():
            outputs, targets = self.predict(self.task.test)
        return TestMeasurement.of(self.task.objective, outputs, targets)

    @contextmanager
    def at_best(self) -> Iterator[None]:
        """The best epoch's weights for as long as this lasts, then those that training goes on with.

        Raises:
            ValueError: no epoch has been completed.
        """
        require_best(self.best)
        current = {name: t.detach().clone() for name, t in moving_state(self.backbone).items()}
        self._load_moving_state(self._best_state)
        try:
            yield
        finally:
            self._load_moving_state(current)

    def predict(self, split: Split) -> tuple[Tensor, Tensor]:
        """Outputs (n, num_outputs) and targets (n, ...) of a split, in eval mode, on the CPU."""
        self.backbone.eval()
        batches = eval_batches(split)
        with torch.inference_mode():
            states = (self._prefix.batch(split, positions) for positions in batches)
            outputs = torch.cat([self._step.forward(state).float().cpu() for state in states])
        return outputs[torch.cat(batches).argsort()], split.targets

    def state(self) -> TrainingState:
        """Everything needed to go on from the last completed epoch; frozen blocks are left out."""
        step = self._step.state()
        parts = {"moving": moving_state(self.backbone), "optimizer": step.tensors}
        if self.best is not None and self.best.epoch < self.epoch:
            parts["best"] = self._best_state
        return TrainingState(
            tensors={f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()},
            values={
                "epoch": self.epoch,
                "best": None if self.best is None else asdict(self.best),
                "frozen_digest": self.frozen_digest,
                **step.values,
            },
        )

    def load_state(self, state: TrainingState) -> None:
        """Go on where `state` was taken; the next epoch equals the uninterrupted one. Its tensors are copied.

        Raises:
            FrozenMoved: the frozen blocks are not those that the state was trained behind.
            ValueError: its tensors are not of a run like this. In either case nothing has been changed.
        """
        if state.values["frozen_digest"] != self.frozen_digest:
            raise FrozenMoved(
                f"the {len(self.backbone.frozen)} frozen blocks of {self.config.backbone} differ from those "
                "the saved state was trained behind; resume with the same weights and freeze_depth"
            )
        current, moving, best = moving_state(self.backbone), state.part("moving"), state.part("best")
        require_alike("moving", moving, current)
        if best:
            require_alike("best", best, current)
        saved = state.values["best"]
        best_epoch = None if saved is None else EpochMetrics(**saved)
        self._step.load_state(TrainingState(tensors=state.part("optimizer"), values=state.values))
        self.best = best_epoch
        self._load_moving_state(moving)
        self._best_state = {name: torch.empty_like(t).copy_((best or moving)[name]) for name, t in current.items()}
        self.epoch = state.values["epoch"]

    def _make_prefix(self, depth: int, num_runs: int, num_epochs: int, *, augmentation: Augmentation | None) -> Prefix:
        return Prefix(
            self.backbone,
            self.task,
            depth,
            digests=self._digests,
            device=self.device,
            precision=self.config.precision,
            execution=self.execution,
            num_runs=num_runs,
            num_epochs=num_epochs,
            augmentation=augmentation,
        )

    def _train_pass(self) -> float:
        """One pass over the training split; the mean loss over its samples."""
        self.backbone.train()
        seed = epoch_seed(self.config.seed, self.epoch)
        if self._augmentation is not None:
            self._augmentation.begin(self.epoch, seed)
        devices = [self.device] if self.device.type == "cuda" else []
        # Dropout draws from the global generators: fork them and seed each epoch anew, so that its draws
        # are its own whatever ran before it in this process, or in the process it is resumed from.
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            # Summed on the device: reading a loss at every step would stall the GPU for each.
            total = torch.zeros((), device=self.device)
            for positions in epoch_batches(self.task.train, self.config.batch_size):
                state = self._prefix.batch(self.task.train, positions, augmented=True)
                targets = self.task.train.targets[positions].to(self.device, non_blocking=True)
                total += self._step(state, targets) * len(positions)
        return float(total) / len(self.task.train)

    def _fit_head(self) -> None:
        """Fit the head to the features of the untouched backbone."""
        self.backbone.eval()
        # All blocks are as pretrained now, so that every run of this backbone shares their features.
        whole = self._make_prefix(self.backbone.num_blocks, self.num_runs, 1, augmentation=None)
        features = FrozenFeatures(self.backbone, whole, self.config.precision, self.device)
        fit_frozen_head(features, self.task, self._weight)

    def _prove_frozen(self) -> None:
        if frozen_checksum(self.backbone) != self._frozen_checksum:
            raise FrozenMoved(
                f"a tensor in the {len(self.backbone.frozen)} frozen blocks of {self.config.backbone} changed "
                f"in epoch {self.epoch + 1}; this result would not be what its freeze_depth says"
            )

    def _load_moving_state(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in moving_state(self.backbone).items():
                tensor.copy_(state[name])
