"""Load a study's backbone and data, and keep both warm for the next trial of this process."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import torch

from orchestrator.config import SweepConfig
from orchestrator.workers.packing import probed_configs
from orchestrator.workers.warm import Warm
from search_spaces import InvalidSpace
from trainables.backbones import Backbone, build
from trainables.catalog import RANDOM, lookup
from trainables.checkpoint_file import checkpoint_bytes
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.errors import InvalidConfig, OutOfMemory, TrainableError, UnknownName
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.freezing import weights_digest
from trainables.memory import peak_memory
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, Preprocessing, TextPreprocessing
from trainables.screen import screen

__all__ = ["forget", "inspect_study", "load_study", "measure_study", "screen_study"]

WARM_SHARE: Final = 0.25
"""Of the machine's memory, for the backbones that all its workers together keep."""

MAX_TASKS: Final = 64
"""Kept per worker. Samples are mapped from files, so that a task holds little more than row numbers."""


def _bytes(backbone: Backbone) -> int:
    return sum(t.numel() * t.element_size() for t in chain(backbone.parameters(), backbone.buffers()))


def _memory_share(num_threads: int) -> float:
    """Bytes of backbones that one worker of `num_threads` may keep: as if the machine were full of them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return WARM_SHARE * memory * num_threads / (os.cpu_count() or 1)


_backbones: Warm[Backbone] = Warm(_bytes, 0)
_tasks: Warm[Task] = Warm(lambda task: 1, MAX_TASKS)


def load_study(spec: TaskSpec, backbone_name: str) -> tuple[Backbone, Task]:
    """The pretrained backbone and the task preprocessed for it; neither may be changed.

    Raises:
        TrainableError: weights are missing or data cannot be read.
    """
    _backbones.limit = _memory_share(torch.get_num_threads())
    # In the memory order that training wants: frozen blocks are then shared by every trial, without a copy.
    backbone = _backbones.get(backbone_name, lambda: build(lookup(backbone_name)).to(memory_format=torch.channels_last))
    task = _tasks.get((spec, backbone.preprocessing), lambda: load_task(spec, backbone.preprocessing))
    return backbone, task


def forget() -> None:
    """Let go of what is kept warm, in a process that does not go on to train."""
    _backbones.clear()
    _tasks.clear()


def inspect_study(config: SweepConfig, spec: TaskSpec, backbone_name: str) -> dict[str, Any]:
    """Load one study's backbone and data and say what they are.

    Missing weights, extras or unreadable data are found here, before any trial, and so is what this backbone cannot
    do on these data: the configuration that asks most of it is set up, and not run. An error comes back as
    ``{"error": text, "usage": whether the sweep file is wrong}``: raised in a Ray task it would arrive wrapped in
    Ray's own.
    """
    torch.set_num_threads(config.resources.cpus_per_trial)
    try:
        if config.evaluation is not None and config.evaluation.num_explained:
            from trainables.explain.extra import require_captum  # its package takes seconds to load

            require_captum()
        backbone, task = load_study(spec, backbone_name)
        fixed = config.finetune
        config.space.bind(backbone.num_blocks, freeze_depth=fixed.freeze_depth, tune_window=fixed.tune_window)
        # What would fail trial by trial, e.g. images of this size, or batches of one sample under BatchNorm.
        able = Execution(compile=config.execution.compile)
        most = probed_configs(config, backbone_name, backbone.num_blocks)[0]
        whole = Finetuner(most, backbone, task, torch.device("cpu"), able)
    except InvalidSpace as error:
        return {"error": f"space for {backbone_name}: {error}", "usage": True}
    except TrainableError as error:
        return {"error": str(error), "usage": isinstance(error, InvalidConfig | UnknownName)}
    return {
        "num_blocks": backbone.num_blocks,
        "kind": spec.kind,
        "modality": task.preprocessing.modality,
        "num_train": len(task.train),
        "num_val": len(task.val),
        "num_test": len(task.test),
        "num_classes": len(task.class_names),
        "num_outputs": task.objective.num_outputs,
        "metric": task.objective.metric,
        "chance": task.objective.chance,
        "digest": task.digest,
        "input": _input(spec, task.preprocessing),
        "checkpoint_bytes": checkpoint_bytes(whole.num_params_trainable, "adamw"),
        "model_bytes": _bytes(whole.backbone),
        "weights_digest": "" if backbone.spec.weights == RANDOM else weights_digest(backbone),
        "weights_revision": backbone.revision,
        "notes": task.notes,
    }


def measure_study(
    spec: TaskSpec, backbone_name: str, configs: Sequence[FinetuneConfig], execution: Execution, num_threads: int
) -> dict[str, Any]:
    """Measure how much of this process's GPU runs take: ``total_bytes`` there are, and the ``peaks`` of `configs`.

    A run that does not fit takes all. An error comes back as ``{"error": text}``.
    """
    torch.set_num_threads(num_threads)
    device = torch.device("cuda")
    total_bytes = torch.cuda.get_device_properties(device).total_memory
    peaks = []
    try:
        backbone, task = load_study(spec, backbone_name)
        for config in configs:
            try:
                peaks.append(peak_memory(config, backbone, task, device, execution))
            except OutOfMemory:
                peaks.append(total_bytes)
    except TrainableError as error:
        return {"error": str(error)}
    return {"total_bytes": total_bytes, "peaks": peaks}


def screen_study(
    spec: TaskSpec, backbone_name: str, num_threads: int, execution: Execution, num_runs: int
) -> dict[str, Any]:
    """Score a backbone on a task without training it.

    ``scores`` holds rows of `SCREEN` without task and backbone, ``notes`` why some do not apply. An error comes
    back as `inspect_study` says.

    Args:
        num_runs: how many runs of the study are expected to need the same features.
    """
    torch.set_num_threads(num_threads)
    try:
        scores = screen(*load_study(spec, backbone_name), execution=execution, num_runs=num_runs)
    except TrainableError as error:
        return {"error": str(error)}
    rows = [{"name": score.name, "value": _finite(score.value), "duration_s": score.duration_s} for score in scores]
    return {"scores": rows, "notes": [f"{score.name}: {score.note}" for score in scores if score.note]}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _input(spec: TaskSpec, preprocessing: Preprocessing) -> str:
    """What one sample is to the backbone, in words."""
    match preprocessing:
        case ImagePreprocessing():
            return f"{spec.image_size or preprocessing.input_size} px"
        case TextPreprocessing():
            return f"up to {min(spec.max_length or preprocessing.max_length, preprocessing.max_length)} tokens"
        case AudioPreprocessing():
            limits = [limit for limit in (spec.max_duration_s, preprocessing.max_duration_s) if limit is not None]
            longest = f", up to {min(limits):g} s" if limits else ""
            return f"{preprocessing.sampling_rate} Hz{longest}"
