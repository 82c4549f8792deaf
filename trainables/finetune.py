"""Fine-tune one configuration of one backbone on one task: the loop everything else is built around."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.backbones import Backbone, replace_head
from trainables.batches import batch_sizes, epoch_batches, eval_batches
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.data import Split, Task
from trainables.errors import Diverged, FrozenMoved, InvalidConfig
from trainables.freezing import freeze, frozen_digest, moving_state
from trainables.objective import Quality
from trainables.optimization import Anchor, make_optimizer, make_schedule
from trainables.preprocessing import ImagePreprocessing, State
from trainables.probe import fit_head

__all__ = ["Finetuner", "TestMeasurement", "default_device"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TestMeasurement:
    """What the test split says of the best epoch's weights. It measures; it never chooses."""

    __test__ = False  # not a test class, whatever pytest reads into the name

    quality: Quality
    example_scores: npt.NDArray[np.float32]
    """Of each test sample, shape (n,): 1 answered correctly or 0; of a regression, its part of R²."""

    @property
    def num_test(self) -> int:
        return len(self.example_scores)


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

    Raises:
        InvalidConfig: the freeze depth, the window or the size of the images does not fit the backbone.
        DataError: the loss shall be weighted by class and the task has no classes.
    """

    def __init__(
        self, config: FinetuneConfig, pretrained: Backbone, task: Task, device: torch.device | None = None
    ) -> None:
        self.config = config
        self.task = task
        self.device = device or default_device()
        self.epoch = 0
        self.step = 0
        self.best: EpochMetrics | None = None
        self._best_state: dict[str, Tensor] = {}
        backbone = copy.deepcopy(pretrained)
        replace_head(backbone, task.objective.num_outputs, config.seed)
        freeze(backbone, *(config.tune_window or (config.freeze_depth,)))
        self.backbone = backbone.to(self.device).to(memory_format=torch.channels_last)
        self.frozen_digest = frozen_digest(self.backbone)
        self._optimizer = make_optimizer(config, self.backbone)
        self._schedule = make_schedule(config, self._optimizer, self.steps_per_epoch * config.max_epochs)
        self._anchor = Anchor(self.backbone, config.stay_near)
        self._prepare = task.preprocessing.on_device().to(self.device)
        self._weight: Tensor | None = None
        if config.class_weight == "balanced":
            self._weight = task.objective.balanced_weight(task.train.targets).to(self.device)
        self._require_fitting_images()

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
        if not math.isfinite(train_loss):
            raise Diverged(f"train loss is {train_loss} in epoch {self.epoch + 1}")
        val = self.task.objective.quality(*self.predict(self.task.val))
        if not math.isfinite(val.loss):
            raise Diverged(f"validation loss is {val.loss} in epoch {self.epoch + 1}")
        self._prove_frozen()
        self.epoch += 1
        score = val.score(self.task.objective.metric)
        metrics = EpochMetrics(
            epoch=self.epoch,
            step=self.step,
            train_loss=train_loss,
            val_loss=val.loss,
            val_accuracy=val.accuracy,
            val_f1_macro=val.f1_macro,
            val_r2=val.r2,
            val_mae=val.mae,
            val_score=score,
            train_s=trained - started,
            eval_s=time.perf_counter() - trained,
            is_best=self.best is None or score > self.best.val_score,
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
        if self.best is None:
            raise ValueError("measure_test needs at least one completed epoch")
        current = {name: t.detach().clone() for name, t in moving_state(self.backbone).items()}
        self._load_moving_state(self._best_state)
        try:
            outputs, targets = self.predict(self.task.test)
        finally:
            self._load_moving_state(current)
        objective = self.task.objective
        return TestMeasurement(
            quality=objective.quality(outputs, targets), example_scores=objective.example_scores(outputs, targets)
        )

    def predict(self, split: Split) -> tuple[Tensor, Tensor]:
        """Outputs (n, num_outputs) and targets (n, ...) of a split, in eval mode, on the CPU."""
        return self._run(split, self._forward), split.targets

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from the last completed epoch; frozen blocks are left out."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "moving": moving_state(self.backbone),
            "best": self.best,
            "best_moving": self._best_state,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "frozen_digest": self.frozen_digest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the next epoch equals the uninterrupted one.

        Raises:
            FrozenMoved: the frozen blocks are not those that the state was trained behind.
        """
        if state["frozen_digest"] != self.frozen_digest:
            raise FrozenMoved(
                f"the {len(self.backbone.frozen)} frozen blocks of {self.config.backbone} differ from those "
                "the saved state was trained behind; resume with the same weights and freeze_depth"
            )
        self.epoch, self.step = state["epoch"], state["step"]
        self.best, self._best_state = state["best"], state["best_moving"]
        self._load_moving_state(state["moving"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])

    def _train_pass(self) -> float:
        """One pass over the training split; the mean loss over its samples."""
        self.backbone.train()
        devices = [self.device] if self.device.type == "cuda" else []
        # Dropout draws from the global generators: fork them and seed each epoch anew, so that its draws
        # are its own whatever ran before it in this process, or in the process it is resumed from.
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self._epoch_seed())
            # Summed on the device: reading a loss at every step would stall the GPU for each.
            total = torch.zeros((), device=self.device)
            for positions in epoch_batches(self.task.train, self.config.batch_size):
                inputs, targets = self.task.train.batch(positions)
                total += self._train_step(inputs, targets.to(self.device, non_blocking=True)) * len(positions)
        return float(total) / len(self.task.train)

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence((self.config.seed, self.epoch)).generate_state(1, np.uint64)[0])

    def _train_step(self, inputs: State, targets: Tensor) -> Tensor:
        loss = self.task.objective.loss(self._forward(inputs).float(), targets, self._weight)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._anchor.add_gradient()
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        return loss.detach()

    def _forward(self, inputs: State) -> Tensor:
        x = self._on_device(inputs)
        with self._autocast():
            outputs: Tensor = self.backbone(x)
        return outputs

    def _features(self, inputs: State) -> Tensor:
        x = self._on_device(inputs)
        with self._autocast():
            features = self.backbone.features(x)
        if not isinstance(features, Tensor):
            raise TypeError(f"{self.config.backbone}: the last block must give one tensor")
        return features

    def _on_device(self, inputs: State) -> State:
        if isinstance(inputs, Tensor):
            x: State = self._prepare(inputs.to(self.device, non_blocking=True))
        else:
            x = self._prepare(tuple(part.to(self.device, non_blocking=True) for part in inputs))
        return x

    def _run(self, split: Split, forward: Callable[[State], Tensor]) -> Tensor:
        """`forward` of every sample in eval mode, in the split's order, float32 on the CPU."""
        self.backbone.eval()
        batches = eval_batches(split)
        with torch.inference_mode():
            results = torch.cat([forward(split.batch(positions)[0]).float().cpu() for positions in batches])
        return results[torch.cat(batches).argsort()]

    def _fit_head(self) -> None:
        """Fit the head to the features of the untouched backbone."""
        train, val = (
            (self._run(split, self._features).to(self.device), split.targets.to(self.device))
            for split in (self.task.train, self.task.val)
        )
        fit_head(self.backbone.head, self.task.objective, train, val, self._weight)

    def _autocast(self) -> AbstractContextManager[None]:
        precision = self.config.precision
        enabled = precision == "bf16" or (precision == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _require_fitting_images(self) -> None:
        """Try one image where the task has resized them: some architectures take only their own size."""
        preprocessing = self.backbone.preprocessing
        if not isinstance(preprocessing, ImagePreprocessing):
            return
        first = self.task.train.batch(torch.arange(1))[0]
        side, own = first[0].shape[-1], preprocessing.input_size
        if side == own:
            return
        self.backbone.eval()
        try:
            with torch.inference_mode():
                self._forward(first)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise InvalidConfig(
                f"{self.config.backbone} cannot take images of {side} px ({error}); its own size is {own}"
            ) from error

    def _prove_frozen(self) -> None:
        if self.backbone.frozen and frozen_digest(self.backbone) != self.frozen_digest:
            raise FrozenMoved(
                f"a tensor in the {len(self.backbone.frozen)} frozen blocks of {self.config.backbone} changed "
                f"in epoch {self.epoch + 1}; this result would not be what its freeze_depth says"
            )

    def _load_moving_state(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in moving_state(self.backbone).items():
                tensor.copy_(state[name])
