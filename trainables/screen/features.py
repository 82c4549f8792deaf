"""What an untouched backbone makes of the training split."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from trainables.backbones import Backbone
from trainables.batches import EVAL_BATCH_SIZE
from trainables.config import Precision
from trainables.data import Task
from trainables.execution import Execution
from trainables.frozen_features import whole_frozen
from trainables.pooling import pooled
from trainables.precision import autocast

__all__ = ["ScreenFeatures", "screen_features"]

MAX_SAMPLES: Final = 10_000
"""Neighbours take the square of it in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScreenFeatures:
    """Of the samples that are scored."""

    features: Tensor
    """float32 (n, width), on the device."""

    share: Tensor | None
    """Probability of each class that the checkpoint was trained on, float32 (n, num_source), on the CPU; None
    where its head was not trained."""

    targets: Tensor
    """As `Objective` takes them, (n, ...), on the CPU."""


def screen_features(
    pretrained: Backbone,
    task: Task,
    device: torch.device,
    *,
    precision: Precision,
    execution: Execution,
    num_runs: int,
) -> ScreenFeatures:
    """Of the training split, or of an even share of `MAX_SAMPLES` of it."""
    train = task.train
    num = min(len(train), MAX_SAMPLES)
    frozen = whole_frozen(pretrained, task, device, precision=precision, execution=execution, num_runs=num_runs)
    head = copy.deepcopy(pretrained.head).to(device).eval() if pretrained.has_trained_head else None
    positions = torch.arange(num) * len(train) // num
    if train.lengths is not None:  # batches of similar lengths hold less padding
        positions = positions[train.lengths[positions].argsort(stable=True)]
    features, share = [], []
    with torch.inference_mode():
        for batch in torch.split(positions, EVAL_BATCH_SIZE):
            left = frozen.batch(train, batch)
            features.append(pooled(left))
            if head is not None:
                with autocast(precision, device):
                    share.append(head(left).float().softmax(dim=1).cpu())
    return ScreenFeatures(
        features=torch.cat(features),
        share=torch.cat(share) if share else None,
        targets=train.targets[positions],
    )
