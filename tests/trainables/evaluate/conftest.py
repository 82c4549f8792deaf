"""A small network after one epoch of tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.backbones import Backbone
from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.evaluate import Subject
from trainables.finetune import Finetuner


@pytest.fixture(scope="session")
def subject_of(small: Backbone, digits: Task) -> Callable[..., Subject]:
    """A subject of `small` on `digits` unless told another backbone or task, with options of its configuration."""

    def subject_of(pretrained: Backbone = small, task: Task = digits, **options: Any) -> Subject:
        config = {"backbone": pretrained.spec.name, "batch_size": 8, "max_epochs": 1, **options}
        finetuner = Finetuner(FinetuneConfig(**config), pretrained, task, torch.device("cpu"))
        finetuner.train_epoch()
        return Subject(finetuner)

    return subject_of


@pytest.fixture(scope="session")
def tuned(subject_of: Callable[..., Subject]) -> Subject:
    """With the first four of fourteen blocks frozen. Never change it."""
    return subject_of(freeze_depth=4)
