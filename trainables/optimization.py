"""Optimizer and learning-rate schedule of one fine-tuning run."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trainables.backbones import Backbone
from trainables.config import FinetuneConfig

__all__ = ["make_optimizer", "make_schedule"]


def make_optimizer(config: FinetuneConfig, backbone: Backbone) -> Optimizer:
    """AdamW or SGD over what trains, each block with its own learning rate.

    The last block has `learning_rate`, each block before it `layer_decay` times the next one's
    (arXiv 2003.10555), the head `head_learning_rate`. Weight decay spares tensors of one dimension
    (biases, norms).
    """
    groups = []
    for index, block in enumerate(backbone.blocks):
        lr = config.learning_rate * config.layer_decay ** (backbone.num_blocks - 1 - index)
        groups += _groups(block.parameters(), lr, config.weight_decay)
    groups += _groups(backbone.head.parameters(), config.head_learning_rate, config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _groups(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> list[dict[str, object]]:
    trainable = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trainable if p.ndim > 1]
    spared = [p for p in trainable if p.ndim <= 1]
    groups = [
        {"params": decayed, "lr": lr, "weight_decay": weight_decay},
        {"params": spared, "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_schedule(config: FinetuneConfig, optimizer: Optimizer, num_steps: int) -> LambdaLR:
    """Linear warm-up over `warmup_frac` of the steps, then constant or a half cosine down to 0."""
    warmup = round(config.warmup_frac * num_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(1, num_steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
