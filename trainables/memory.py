"""How much of a GPU one run takes, found out by training two steps of it."""

from __future__ import annotations

import gc
from dataclasses import asdict, replace
from typing import Final

import torch

from trainables import findings
from trainables.backbones import Backbone
from trainables.batches import EVAL_BATCH_SIZE, largest_sample
from trainables.config import FinetuneConfig
from trainables.data import Split, Task
from trainables.errors import InvalidConfig
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.memory_limit import CONTEXT_BYTES
from trainables.passes import memory_key

__all__ = ["peak_memory", "rehearsal"]

_KIND: Final = "memory"
_NUM_STEPS: Final = 2
"""The optimizer's state is there from the second step on."""


def peak_memory(
    config: FinetuneConfig, pretrained: Backbone, task: Task, device: torch.device, execution: Execution
) -> int:
    """Bytes of a GPU that a run takes at most, CUDA context included; measured once per kind of run and GPU.

    Two steps on the longest samples and a batch of evaluation, with the frozen blocks computed and not read:
    activations kept on the GPU beside that take what is left.

    Raises:
        InvalidConfig: the device is no GPU: there is nothing to measure.
        OutOfMemory: not even one sample at a time fits.
    """
    if device.type != "cuda":
        raise InvalidConfig(f"device must be a CUDA GPU for its memory to be measured, got {device}")
    about = memory_key(config, task.objective.num_outputs, largest_sample(task.train), device)
    about["execution"] = asdict(execution)
    found = findings.recall(_KIND, about)
    if found is None:
        found = {"num_bytes": _measured(config, pretrained, task, device, execution) + CONTEXT_BYTES}
        findings.note(_KIND, about, found)
    num_bytes: int = found["num_bytes"]
    return num_bytes


def _measured(
    config: FinetuneConfig, pretrained: Backbone, task: Task, device: torch.device, execution: Execution
) -> int:
    """Bytes that PyTorch's allocator takes from the GPU, with what is lost between its blocks."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        # Nothing is learnt, so that nothing can diverge; what a step allocates does not depend on it.
        still = replace(config, max_epochs=1, head_init="random", learning_rate=0.0, head_learning_rate=0.0)
        uncached = replace(execution, activation_cache="off")
        Finetuner(still, pretrained, rehearsal(task, config.batch_size), device, uncached).train_epoch()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_reserved(device) - before
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def rehearsal(task: Task, batch_size: int) -> Task:
    """The task with no more samples than two steps and a batch of evaluation take: the longest."""
    return replace(
        task,
        train=_longest(task.train, _NUM_STEPS * batch_size),
        val=_longest(task.val, EVAL_BATCH_SIZE),
        test=_longest(task.test, EVAL_BATCH_SIZE),
    )


def _longest(split: Split, num: int) -> Split:
    lengths = split.lengths
    order = torch.arange(len(split)) if lengths is None else lengths.argsort(descending=True, stable=True)
    return split.at(order[:num])
