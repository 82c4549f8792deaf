"""Small tasks of every modality and kind, and the samples of their test split as a user would hand them over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hf_checkpoints import WORDS

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.data.source import open_source
from trainables.exported import ModelFacts, save_model
from trainables.finetune import Finetuner

__all__ = ["given", "saved", "tuned", "write_texts", "write_tones"]

CPU = torch.device("cpu")


def tuned(name: str, spec: TaskSpec, **options: Any) -> Finetuner:
    """Fine-tuned for an epoch."""
    pretrained = build(lookup(name))
    config = FinetuneConfig(backbone=name, batch_size=8, max_epochs=1, **options)
    finetuner = Finetuner(config, pretrained, load_task(spec, pretrained.preprocessing), CPU)
    finetuner.train_epoch()
    return finetuner


def saved(folder: Path, finetuner: Finetuner, **origin: Any) -> ModelFacts:
    """Saved with the test score that was measured."""
    score = finetuner.measure_test().quality.score(finetuner.task.objective.metric)
    return save_model(folder, finetuner, test_score=score, origin=origin)


def given(task: Task) -> dict[str, list[Any]]:
    """A table of the test split: bytes of PNG files made of images, texts, or waveforms with their rates."""
    source = open_source(task.spec)
    samples = [source.load(row) for row in task.test.rows.tolist()]
    if source.modality == "image":
        return {"image": [_png(sample) for sample in samples]}
    if source.modality == "audio":
        return {"audio": samples}
    if isinstance(samples[0], tuple):
        return {"text": [first for first, _ in samples], "text_pair": [second for _, second in samples]}
    return {"text": samples}


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_texts(file: Path, *, pairs: bool = False) -> Path:
    """60 texts of 3 to 12 words, with two numbers and a set of labels that follow from their words."""
    rng = np.random.default_rng(0)
    lines = ["text,other,length,early,labels" if pairs else "text,length,early,labels"]
    for _ in range(60):
        words = [WORDS[place] for place in rng.integers(0, len(WORDS), rng.integers(3, 12))]
        early = sum(WORDS.index(word) < 20 for word in words)
        labels = "|".join(name for name, is_so in (("long", len(words) > 6), ("early", early > 3)) if is_so)
        other = [" ".join(words[::-1])] if pairs else []
        lines.append(",".join([" ".join(words), *other, str(len(words)), str(100 * early), labels or "none"]))
    file.write_text("\n".join(lines) + "\n")
    return file


def write_tones(folder: Path) -> Path:
    """Two pitches, 16 sounds each of unequal length."""
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    for name, pitch in (("low", 300), ("high", 2700)):
        (folder / name).mkdir(parents=True)
        for index in range(16):
            seconds = np.arange(int(11_025 * rng.uniform(0.1, 0.3))) / 11_025
            tone = 0.4 * np.sin(2 * np.pi * pitch * seconds) + 0.02 * rng.standard_normal(len(seconds))
            wavfile.write(folder / name / f"{index}.wav", 11_025, (tone * 32_767).astype(np.int16))
    return folder
