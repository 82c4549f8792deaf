"""Write a fine-tuned network as a folder that predicts by itself, and make sure that it does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_model as save_tensors
from torch import Tensor

from trainables.data import Task
from trainables.data.audio import duration_limit
from trainables.data.source import open_source
from trainables.data.sources.contract import Source
from trainables.data.text import length_limit
from trainables.errors import DataError
from trainables.exported.answers import answers
from trainables.exported.example import write_example
from trainables.exported.facts import (
    CHECKPOINT,
    EXAMPLE,
    OUTPUT_FILE,
    WEIGHTS_FILE,
    ModelFacts,
    file_digests,
    read_example,
    write_facts,
)
from trainables.exported.model import ExportedModel, load_model
from trainables.finetune import Finetuner
from trainables.objective import Objective, Regression
from trainables.precision import uses_bf16
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, TextPreprocessing
from trainables.validation import require_best

__all__ = ["save_model"]

_PACKAGES: Final = ("torch", "torchvision", "timm", "transformers", "safetensors", "numpy", "pillow", "scipy")

_TOLERANCE: Final = 1e-4
"""Of the example's outputs, as a share of the largest: a device may add up in another order the next time."""

_BF16_TOLERANCE: Final = 2e-2
"""The same where layers compute in bf16, of which an ulp is 1/128."""


def save_model(
    folder: Path, finetuner: Finetuner, *, test_score: float, origin: Mapping[str, Any] | None = None
) -> ModelFacts:
    """Save the best epoch's network, and load it back from its folder alone to see that it answers the same.

    Args:
        folder: is replaced where it exists, and is there whole or not at all.
        test_score: of these weights, by the task's main metric, as `Finetuner.measure_test` gives it.
        origin: where the network came from, of what JSON takes.

    Raises:
        ValueError: no epoch has been completed.
        OSError: the folder cannot be written, or the disk is full.
        DataError: the data cannot be read any more.
        TrainableError: the network cannot be built again from what is saved.
    """
    require_best(finetuner.best)
    source = open_source(finetuner.task.spec)
    sample = _sample(source, finetuner.task)
    facts = _facts(finetuner, source, sample, test_score, origin or {})
    scratch = folder.with_name(f".{folder.name}-{os.getpid()}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        facts = _write(scratch, finetuner, facts, sample)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(scratch, folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return facts


def _write(folder: Path, finetuner: Finetuner, facts: ModelFacts, sample: Any) -> ModelFacts:
    """Fill a folder that is to be made, and try what is in it."""
    preprocessing, spec = finetuner.task.preprocessing, finetuner.pretrained.spec
    folder.mkdir(parents=True)
    write_example(folder / EXAMPLE, sample, preprocessing, facts.inputs.get("max_duration_s"))
    with finetuner.at_best():
        # Of tensors with several names one is written; the reader knows the others.
        save_tensors(finetuner.backbone, str(folder / WEIGHTS_FILE))
        # It comes readable by its owner alone; workers and driver may be different users.
        (folder / WEIGHTS_FILE).chmod(folder.stat().st_mode & 0o666)
        trained = ExportedModel(finetuner.backbone, facts, preprocessing, finetuner.device)
        outputs = trained.outputs(read_example(folder, facts))
    (folder / EXAMPLE / OUTPUT_FILE).write_text(json.dumps(answers(outputs, facts), indent=2), encoding="utf-8")
    if spec.source == "hf":
        from trainables.backbones.hf.files import copy_description

        copy_description(spec, folder / CHECKPOINT)
    whole = replace(facts, files=file_digests(folder))
    write_facts(folder, whole)
    _require_same(load_model(folder, finetuner.device), outputs, folder)
    return whole


def _facts(
    finetuner: Finetuner, source: Source, sample: Any, test_score: float, origin: Mapping[str, Any]
) -> ModelFacts:
    task, best = finetuner.task, require_best(finetuner.best)
    return ModelFacts(
        backbone=finetuner.pretrained.spec.name,
        modality=task.preprocessing.modality,
        kind=source.kind,
        class_names=task.class_names,
        inputs=_inputs(task, source, sample),
        **_scaling(task.objective),
        precision=finetuner.config.precision,
        num_blocks=finetuner.backbone.num_blocks,
        config=asdict(finetuner.config),
        task=task.spec.name,
        data_digest=task.digest,
        num_train=len(task.train),
        num_val=len(task.val),
        num_test=len(task.test),
        metric=task.objective.metric,
        best_epoch=best.epoch,
        val_score=best.val_score,
        test_score=test_score,
        chance=task.objective.chance,
        origin=dict(origin),
        versions=_versions(),
    )


def _sample(source: Source, task: Task) -> Any:
    """The first of the test split, as it lies where the data are."""
    row = int(task.test.rows[0])
    try:
        return source.load(row)
    except (ValueError, IndexError) as error:
        raise DataError(f"data {task.spec.data!r} can no longer be read: {error}") from error


def _inputs(task: Task, source: Source, sample: Any) -> dict[str, Any]:
    match task.preprocessing:
        case ImagePreprocessing() as images:
            side = task.spec.image_size or images.input_size
            return {"side": side, "framed": source.framed, **asdict(images)}
        case TextPreprocessing() as texts:
            return {"max_length": length_limit(task.spec.max_length, texts), "pairs": isinstance(sample, tuple)}
        case AudioPreprocessing() as sounds:
            limit = duration_limit(task.spec.max_duration_s, sounds)
            return {"sampling_rate": sounds.sampling_rate, "max_duration_s": limit}


def _scaling(objective: Objective) -> dict[str, Any]:
    if not isinstance(objective, Regression):
        return {}
    return {"target_mean": objective.mean, "target_std": objective.std}


def _require_same(loaded: ExportedModel, outputs: Tensor, folder: Path) -> None:
    again = loaded.outputs(read_example(folder, loaded.facts))
    rounding = _BF16_TOLERANCE if uses_bf16(loaded.facts.precision, loaded.device) else _TOLERANCE
    tolerance = rounding * float(outputs.abs().max())
    if not torch.allclose(again, outputs, rtol=0.0, atol=tolerance):
        raise DataError(
            f"a saved {loaded.facts.backbone} must answer as the trained one, and differs by "
            f"{float((again - outputs).abs().max()):.3g} on a test sample: something of it is no tensor and no setting"
        )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
