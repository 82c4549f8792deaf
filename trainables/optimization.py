"""Optimizer, learning-rate schedule and the pull towards pretrained weights of one fine-tuning run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trainables.backbones import Backbone
from trainables.config import FinetuneConfig

__all__ = ["Anchor", "make_optimizer", "make_schedule"]


def make_optimizer(config: FinetuneConfig, backbone: Backbone) -> Optimizer:
    """The optimizer over what trains, each block with its own learning rate.

    The last tuned block has `learning_rate`, each block before it `layer_decay` times the next one's
    (arXiv 2003.10555), the head `head_learning_rate`. Weight decay is for matrices and filters: tensors
    of one dimension (biases, norms) and bare parameters (position embeddings, class tokens, layer
    scales, tables of relative biases) are spared, as in timm. Under `stay_near` no block is decayed.
    """
    last = max((i for i in range(backbone.num_blocks) if i not in backbone.frozen), default=0)
    block_decay = 0.0 if config.stay_near else config.weight_decay
    groups: list[dict[str, Any]] = []
    for index, block in enumerate(backbone.blocks):
        lr = config.learning_rate * config.layer_decay ** (last - index)
        groups += _groups(block, lr, block_decay)
    groups += _groups(backbone.head, config.head_learning_rate, config.weight_decay)
    groups = _merged(groups)
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _groups(part: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    trainable = [(name, p) for name, p in part.named_parameters() if p.requires_grad]
    # Layers call their matrix "weight" (attention "in_proj_weight"); what is not a layer's has a name of its own.
    decayed = [p for name, p in trainable if p.ndim > 1 and name.endswith("weight")]
    spared = [p for name, p in trainable if p.ndim <= 1 or not name.endswith("weight")]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "lr": lr, "weight_decay": weight_decay},
        {"params": spared, "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of equal settings as one: each costs a fused optimizer a call of its own at every step."""
    merged: dict[tuple[float, float], dict[str, Any]] = {}
    for group in groups:
        same = merged.setdefault((group["lr"], group["weight_decay"]), {**group, "params": []})
        same["params"] += group["params"]
    return list(merged.values())


def make_schedule(config: FinetuneConfig, optimizer: Optimizer, num_steps: int) -> LambdaLR:
    """Linear warm-up over `warmup_frac` of the steps, then as `schedule` says."""
    warmup = round(config.warmup_frac * num_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        match config.schedule:
            case "constant":
                return 1.0
            case "step":
                return 1.0 if 2 * step < num_steps else 0.1 if 4 * step < 3 * num_steps else 0.01
            case "cosine":
                progress = (step - warmup) / max(1, num_steps - warmup)
                return 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


class Anchor:
    """The gradient of ``strength / 2 * ||w - w0||²`` over the tuned blocks, w0 their weights now.

    L2-SP (Li, Grandvalet and Davoine 2018, arXiv 1802.01483) with the starting point as the reference.

    Args:
        strength: `FinetuneConfig.stay_near`; 0 costs nothing.
    """

    def __init__(self, backbone: Backbone, strength: float) -> None:
        self._strength = strength
        self._tuned = [p for p in backbone.blocks.parameters() if p.requires_grad] if strength else []
        self._start = [p.detach().clone() for p in self._tuned]

    def add_gradient(self) -> None:
        """Add it to the gradients that the loss has left."""
        moved = [(p, p.grad, start) for p, start in zip(self._tuned, self._start, strict=True) if p.grad is not None]
        if not moved:
            return
        weights, gradients, starts = zip(*moved, strict=True)
        with torch.no_grad():
            torch._foreach_add_(gradients, torch._foreach_sub(weights, starts), alpha=self._strength)
