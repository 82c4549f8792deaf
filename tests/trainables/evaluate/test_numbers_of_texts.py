"""Drift and costs where samples are of unequal length: padding is no part of them."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hf_checkpoints import TEXTS, WORDS
from torch import Tensor

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.config import TaskSpec
from trainables.data import load_task
from trainables.evaluate import Evaluation, Subject, drift, efficiency
from trainables.evaluate.drift import linear_cka
from trainables.flops import flops_along


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, subject_of: Callable[..., Subject]) -> Subject:
    """Two kinds of texts of 2 to 20 words, and a small encoder whose first block is frozen."""
    folder = tmp_path_factory.mktemp("texts")
    TEXTS["distilbert"].save(folder / "model")
    rng = np.random.default_rng(0)
    with (folder / "texts.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "label"])
        for row in range(60):
            kind = row % 2
            words = rng.choice(WORDS[20 * kind : 20 * kind + 20], 2 + int(rng.integers(19)))
            rows.writerow([" ".join(words), "ab"[kind]])
    pretrained = build(lookup(f"hf/{folder / 'model'}"))
    task = load_task(
        TaskSpec(name="texts", data=str(folder / "texts.csv"), num_val=12, num_test=24), pretrained.preprocessing
    )
    return subject_of(pretrained, task, freeze_depth=1)


def one_by_one(subject: Subject) -> list[tuple[Tensor, ...]]:
    """Test samples as they are alone, without padding."""
    test = subject.task.test
    samples = [test.batch(torch.tensor([position]))[0] for position in range(len(test))]
    assert all(bool(mask.all()) for _, mask, _ in samples)
    return samples  # type: ignore[return-value]


def test_padding_is_no_part_of_a_texts_features(texts: Subject) -> None:
    found = {m.condition: m.value for m in drift(texts, Evaluation()).measures}
    assert found["block:0"] == 1.0
    for block in (1, 2):
        with torch.no_grad():
            before, after = (
                torch.cat([network.features(sample, stop=block + 1)[0].mean(dim=1) for sample in one_by_one(texts)])
                for network in (texts.pretrained, texts.tuned)
            )
        assert found[f"block:{block}"] == pytest.approx(linear_cka(before.numpy(), after.numpy()), rel=1e-4)
        assert found[f"block:{block}"] < 1


def test_arithmetic_is_that_of_a_text_of_middle_length(texts: Subject) -> None:
    samples = sorted(one_by_one(texts), key=lambda sample: sample[0].shape[1])
    middle = samples[len(samples) // 2]
    with torch.no_grad():
        flops = [flops for flops, _ in flops_along([*texts.tuned.blocks, texts.tuned.head], middle)]
    found = {m.name: m.value for m in efficiency(texts, Evaluation()).measures}
    assert found["flops_forward"] == sum(flops)
    assert found["flops_prefix"] == flops[0]
    width, length = 32, middle[0].shape[1]
    layer = 2 * length * (4 * width * width + 2 * width * 64) + 2 * (2 * length * length * width)
    assert flops[1:3] == [layer, layer]
