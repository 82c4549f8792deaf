"""Probes that run in milliseconds, together and alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.catalog import lookup
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.data import Task
from trainables.finetune import Finetuner
from trainables.measurement import TestMeasurement
from trainables.preprocessing import ImagePreprocessing
from trainables.probes import ProbeGroup, ProbeRun

CPU = torch.device("cpu")
MAX_EPOCHS = 3
MEMBERS: tuple[dict[str, Any], ...] = (
    {"seed": 0, "head_learning_rate": 1e-2, "weight_decay": 1e-2, "schedule": "cosine"},
    {"seed": 1, "head_learning_rate": 1e-1, "weight_decay": 0.0, "schedule": "step", "warmup_frac": 0.4},
    {"seed": 2**31, "head_learning_rate": 1e-3, "weight_decay": 1.0, "schedule": "constant", "warmup_frac": 0.0},
    {"seed": 0, "head_learning_rate": 3e-2, "weight_decay": 1e-2, "schedule": "cosine"},
)
HEADS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(24, 7),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.3, inplace=True), nn.Linear(24, 7)),
    "layers": lambda: nn.Sequential(
        nn.LayerNorm(24), nn.Dropout(0.1), nn.Linear(24, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 7)
    ),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 2, 2)), nn.Dropout(0.5), nn.Conv2d(6, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}


class Features(nn.Module):
    """Numbers of order one that tell the digits apart."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 3 * 64, generator=torch.Generator().manual_seed(seed)) / 14)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(nn.functional.adaptive_avg_pool2d(x, 8).flatten(1) @ self.weight.T) + 0.1


def with_head(head: nn.Module) -> Backbone:
    """A backbone of one block with this head."""
    preprocessing = ImagePreprocessing(
        input_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear", crop_frac=1.0
    )
    return Backbone(lookup("torchvision/mobilenet_v3_small@random"), [Features()], head, preprocessing)


def configs(backbone: Backbone, members: tuple[dict[str, Any], ...] = MEMBERS, **shared: Any) -> list[FinetuneConfig]:
    base = {"backbone": backbone.spec.name, "freeze_depth": backbone.num_blocks, "batch_size": 8}
    return [FinetuneConfig(**{**base, "max_epochs": MAX_EPOCHS, **shared, **member}) for member in members]


def require_equal(epoch: EpochMetrics, alone: EpochMetrics) -> None:
    for name in ("epoch", "step", "is_best"):
        assert getattr(epoch, name) == getattr(alone, name), name
    for name in ("train_loss", "val_loss", "val_accuracy", "val_f1_macro", "val_r2", "val_mae", "val_score"):
        expected = getattr(alone, name)
        assert getattr(epoch, name) == (None if expected is None else pytest.approx(expected, rel=2e-5, abs=1e-6)), name


def require_equal_tests(measured: TestMeasurement, alone: TestMeasurement) -> None:
    assert np.allclose(measured.example_scores, alone.example_scores, atol=1e-4)
    assert measured.quality.loss == pytest.approx(alone.quality.loss, rel=2e-5)


def require_equal_runs(run: ProbeRun, alone: Finetuner) -> None:
    losses = []
    for _ in range(alone.config.max_epochs):
        epoch, expected = run.train_epoch(), alone.train_epoch()
        require_equal(epoch, expected)
        losses.append(expected.train_loss)
        assert run.best is not None
        assert alone.best is not None
        require_equal(run.best, alone.best)
        require_equal_tests(run.measure_test(), alone.measure_test())
    assert len(set(losses)) == len(losses), "the test shows nothing"
    assert run.epoch == alone.epoch
    assert run.frozen_digest == alone.frozen_digest
    assert (run.num_params, run.num_params_trainable) == (alone.num_params, alone.num_params_trainable)
    assert run.backbone.num_blocks == alone.backbone.num_blocks


def compare(backbone: Backbone, task: Task, members: list[FinetuneConfig]) -> None:
    group = ProbeGroup(members, backbone, task, CPU)
    for config in members:
        require_equal_runs(group.run(config), Finetuner(config, backbone, task, CPU))
