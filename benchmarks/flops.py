"""How much of the arithmetic of a forward pass is in the frozen blocks, and what not repeating it can save."""

from __future__ import annotations

import copy

import torch

from trainables.backbones import Backbone, replace_head
from trainables.data import Task
from trainables.flops import flops_along

__all__ = ["forward_flops", "step_bound", "sweep_bound"]


def forward_flops(pretrained: Backbone, task: Task) -> list[int]:
    """FLOPs of each block, then of the head that the task gets, for one sample of the task."""
    backbone = copy.deepcopy(pretrained).to("cpu").eval()
    replace_head(backbone, task.objective.num_outputs, seed=0)
    encoded, _ = task.train.batch(torch.arange(1))
    with torch.inference_mode():
        prepared = task.preprocessing.on_device()(encoded)
        return [flops for flops, _ in flops_along([*backbone.blocks, backbone.head], prepared)]


def step_bound(f: float) -> float:
    """How much faster a training step can be with its frozen share `f` read instead of computed.

    In forward passes: 1 and two more for the gradients of what is tuned, 1 + 2 (1 - f), against 3 (1 - f).
    """
    return (3 - 2 * f) / (3 - 3 * f)


def sweep_bound(f: float, *, num_trials: int, epochs: int, num_train: int, num_val: int, num_test: int) -> float:
    """The same of whole trials, validated after every epoch and tested once, the cache's filling included."""
    uncached = num_trials * (epochs * (num_train * (3 - 2 * f) + num_val) + num_test)
    tuned = num_trials * (epochs * (num_train * 3 + num_val) + num_test) * (1 - f)
    return uncached / (tuned + f * (num_train + num_val + num_test))
