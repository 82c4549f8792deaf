"""Fine-tune one configuration of one backbone on one task: the loop everything else is built around."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.backbones import Backbone, replace_head
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.data import Split, Task
from trainables.errors import Diverged, FrozenMoved, InvalidConfig
from trainables.evaluate import Quality, quality
from trainables.freezing import freeze, frozen_digest
from trainables.optimization import make_optimizer, make_schedule

__all__ = ["Finetuner", "TestMeasurement", "default_device"]

EVAL_BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class TestMeasurement:
    """What the test split says of the best epoch's weights. It measures; it never chooses."""

    __test__ = False  # not a test class, whatever pytest reads into the name

    quality: Quality
    correct: bytes
    """One bit per test sample, `numpy.packbits` order: answered correctly or not."""

    num_test: int


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
        InvalidConfig: the freeze depth or the size of the images does not fit the backbone.
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
        replace_head(backbone, task.num_classes, config.seed)
        freeze(backbone, config.freeze_depth)
        self.backbone = backbone.to(self.device).to(memory_format=torch.channels_last)
        self.frozen_digest = frozen_digest(self.backbone)
        self._optimizer = make_optimizer(config, self.backbone)
        self._schedule = make_schedule(config, self._optimizer, self.steps_per_epoch * config.max_epochs)
        self._mean = torch.tensor(task.mean, device=self.device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(task.std, device=self.device).view(1, 3, 1, 1) * 255
        self._require_fitting_images()

    @property
    def steps_per_epoch(self) -> int:
        return len(self._batch_sizes())

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
        train_loss = self._train_pass()
        trained = time.perf_counter()
        if not math.isfinite(train_loss):
            raise Diverged(f"train loss is {train_loss} in epoch {self.epoch + 1}")
        val = quality(*self.predict(self.task.val))
        if not math.isfinite(val.loss):
            raise Diverged(f"validation loss is {val.loss} in epoch {self.epoch + 1}")
        self._prove_frozen()
        self.epoch += 1
        score = val.score(self.task.metric)
        metrics = EpochMetrics(
            epoch=self.epoch,
            step=self.step,
            train_loss=train_loss,
            val_loss=val.loss,
            val_accuracy=val.accuracy,
            val_f1_macro=val.f1_macro,
            val_score=score,
            train_s=trained - started,
            eval_s=time.perf_counter() - trained,
            is_best=self.best is None or score > self.best.val_score,
        )
        if metrics.is_best:
            self.best = metrics
            self._best_state = {name: t.detach().clone() for name, t in self._moving_state().items()}
        return metrics

    def measure_test(self) -> TestMeasurement:
        """Measure the best epoch's weights on the test split; training may go on afterwards.

        Raises:
            ValueError: no epoch has been completed.
        """
        if self.best is None:
            raise ValueError("measure_test needs at least one completed epoch")
        current = {name: t.detach().clone() for name, t in self._moving_state().items()}
        self._load_moving_state(self._best_state)
        try:
            logits, labels = self.predict(self.task.test)
        finally:
            self._load_moving_state(current)
        correct = (logits.argmax(dim=1) == labels).numpy()
        return TestMeasurement(
            quality=quality(logits, labels), correct=np.packbits(correct).tobytes(), num_test=len(labels)
        )

    def predict(self, split: Split) -> tuple[Tensor, Tensor]:
        """Logits (n, num_classes) and labels (n,) of a split, in eval mode, on the CPU."""
        self.backbone.eval()
        with torch.inference_mode():
            logits = [
                self._forward(split.batch(positions)[0].to(self.device, non_blocking=True))
                for positions in torch.split(torch.arange(len(split)), EVAL_BATCH_SIZE)
            ]
            return torch.cat(logits).float().cpu(), split.labels

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from the last completed epoch; frozen blocks are left out."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "moving": self._moving_state(),
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
                f"the {self.config.freeze_depth} frozen blocks of {self.config.backbone} differ from those "
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
            order = torch.randperm(len(self.task.train))
            for positions in torch.split(order, self._batch_sizes()):
                images, labels = self.task.train.batch(positions)
                loss = self._train_step(
                    images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
                )
                total += loss * len(positions)
        return float(total) / len(self.task.train)

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence((self.config.seed, self.epoch)).generate_state(1, np.uint64)[0])

    def _batch_sizes(self) -> list[int]:
        """Of one pass; see `FinetuneConfig.batch_size`."""
        num, size = len(self.task.train), self.config.batch_size
        sizes = [min(size, num - start) for start in range(0, num, size)]
        if size > 1 and len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [size + 1]
        return sizes

    def _train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = cross_entropy(self._forward(images).float(), labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        return loss.detach()

    def _forward(self, images: Tensor) -> Tensor:
        x = ((images.float() - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits: Tensor = self.backbone(x)
        return logits

    def _autocast(self) -> AbstractContextManager[None]:
        precision = self.config.precision
        enabled = precision == "bf16" or (precision == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _require_fitting_images(self) -> None:
        """Try one image where the task has resized them: some architectures take only their own size."""
        side, own = self.task.train.images.shape[-1], self.backbone.preprocessing.input_size
        if side == own:
            return
        self.backbone.eval()
        try:
            with torch.inference_mode():
                self._forward(self.task.train.images[:1].to(self.device))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise InvalidConfig(
                f"{self.config.backbone} cannot take images of {side} px ({error}); its own size is {own}"
            ) from error

    def _prove_frozen(self) -> None:
        if self.backbone.frozen and frozen_digest(self.backbone) != self.frozen_digest:
            raise FrozenMoved(
                f"a tensor in the {self.config.freeze_depth} frozen blocks of {self.config.backbone} changed "
                f"in epoch {self.epoch + 1}; this result would not be what its freeze_depth says"
            )

    def _moving_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the tuned blocks and the head."""
        tuned: list[tuple[str, nn.Module]] = [
            (f"blocks.{index}", block)
            for index, block in enumerate(self.backbone.blocks)
            if index not in self.backbone.frozen
        ]
        return {
            f"{prefix}.{name}": tensor
            for prefix, module in [*tuned, ("head", self.backbone.head)]
            for name, tensor in module.state_dict().items()
        }

    def _load_moving_state(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in self._moving_state().items():
                tensor.copy_(state[name])
