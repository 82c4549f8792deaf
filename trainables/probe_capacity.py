"""How many linear probes of a backbone on a task can be trained together."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from trainables.backbones import Backbone, replace_head
from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.execution import Execution
from trainables.freezing import copy_tuned
from trainables.probe_group import MAX_TOGETHER, is_probe
from trainables.stacked import StackedHead, dropouts, stack

__all__ = ["probe_capacity"]

MAX_FEATURE_BYTES: Final = 2 * 2**30
"""Of the features of all samples, which are held in memory."""

MAX_MEMBER_BYTES: Final = 512 * 2**20
"""Of all members' heads, gradients, optimizer states and best epochs, and a batch of each."""

_NUM_COPIES: Final = 6
"""Of a head: weights, gradient, two moments and what an update computes on the way."""


def probe_capacity(config: FinetuneConfig, pretrained: Backbone, task: Task, execution: Execution) -> int:
    """How many probes of the `probe_group` of `config` a `trainables.probes.ProbeGroup` can train.

    0 where each must be trained alone:

    - a block is tuned or images are augmented: features are not fixed;
    - ``activation_cache`` is off: nothing shall be computed once and kept; or ``micro_batch_size`` is set: one
      batch of one run may be too large already, and dropout draws other masks in parts of a batch;
    - the head has buffers, such as the running statistics of BatchNorm, draws random numbers otherwise than
      by `torch.nn.Dropout`, or does what `torch.func.vmap` cannot;
    - features of samples differ in shape: sequences that the last block does not pool;
    - features of all samples, or two such heads, take more memory than the limits of this module.

    Costs one forward of one sample.
    """
    if not is_probe(config, pretrained.num_blocks):
        return 0
    if execution.activation_cache == "off" or execution.micro_batch_size is not None:
        return 0
    backbone = copy_tuned(pretrained, pretrained.num_blocks)
    replace_head(backbone, task.objective.num_outputs, config.seed)
    features = _example(backbone, task)
    if features is None or not _can_be_stacked(backbone.head, features):
        return 0
    sample = features[0].numel() * 4
    if sample * (len(task.train) + len(task.val) + len(task.test)) > MAX_FEATURE_BYTES:
        return 0
    head = sum(p.numel() for p in backbone.head.parameters()) * 4
    member = (_NUM_COPIES + config.max_epochs) * head + 2 * min(config.batch_size, len(task.train)) * sample
    num = min(MAX_TOGETHER, MAX_MEMBER_BYTES // member)
    return num if num > 1 else 0


def _example(backbone: Backbone, task: Task) -> Tensor | None:
    """Features of one sample, shape (1, ...); None where those of another have another shape."""
    lengths = task.train.lengths
    positions = [0] if lengths is None else [int(lengths.argmin()), int(lengths.argmax())]
    prepare = task.preprocessing.on_device()
    with torch.no_grad():
        found = [backbone.features(prepare(task.train.batch(torch.tensor([i]))[0])) for i in positions]
    first, *others = found
    if isinstance(first, Tensor) and all(isinstance(other, Tensor) and other.shape == first.shape for other in others):
        return first
    return None


def _can_be_stacked(head: nn.Module, features: Tensor) -> bool:
    """Whether two copies of it give gradients on two samples each."""
    if next(head.buffers(), None) is not None:
        return False
    batch = torch.cat([features, features])
    with torch.random.fork_rng(devices=[]):
        masks = [torch.stack([draw(), draw()]) for draw in dropouts(head, batch)]
    parameters = stack([dict(head.named_parameters())] * 2)
    try:
        StackedHead(head, _total).gradients(parameters, torch.stack([batch, batch]), torch.zeros(2, 2), masks)
    except RuntimeError:
        return False
    return True


def _total(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs.sum()
