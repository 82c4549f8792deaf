"""Runs of milliseconds that can be begun again and again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.config import EpochMetrics, FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.execution import Execution
from trainables.finetune import Finetuner

CPU = torch.device("cpu")
MAX_EPOCHS = 3


def untimed(epochs: Iterable[EpochMetrics]) -> list[EpochMetrics]:
    return [replace(metrics, train_s=0.0, eval_s=0.0) for metrics in epochs]


@cache
def tiny() -> Backbone:
    """Convolutions under channels_last and BatchNorm, in a few blocks. Never change it."""
    return build(lookup("timm/test_resnet@random"))


@cache
def images() -> Task:
    """18 digits to train on: a batch of 8 leaves two over."""
    spec = TaskSpec(name="t", image_size=32, num_train=18, num_val=12, num_test=12)
    return load_task(spec, tiny().preprocessing)


def start(task: Task | None = None, execution: Execution | None = None, **options: Any) -> Finetuner:
    """A run of `tiny`, on `images` unless told another task, with options of its configuration."""
    config = {"backbone": tiny().spec.name, "batch_size": 8, "max_epochs": MAX_EPOCHS, **options}
    return Finetuner(FinetuneConfig(**config), tiny(), task or images(), CPU, execution or Execution())
