"""Texts are attacked in their embeddings and sounds in what enters the network; padding is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacking import of_all, untouched
from hf_checkpoints import SOUNDS, TEXTS
from planted_networks import linear, planted, task_of
from torch import Tensor, nn

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.data.ragged import Ragged
from trainables.data.samples import Sounds, Tokens
from trainables.evaluate import Subject
from trainables.evaluate.attacks import Adversary, attacks
from trainables.evaluation import Evaluation
from trainables.finetune import Finetuner
from trainables.preprocessing import AudioPreprocessing, TextPreprocessing

ALL = Evaluation(num_attacked=1000)


def tokens_task(tokenizer: Any = None) -> Task:
    """Texts of 4 to 9 tokens, among numbers that the tiny checkpoints know."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(4, 44, rng.integers(4, 10)).astype(np.int32) for _ in range(10)]
    samples = Tokens(
        ids=Ragged.of(texts), types=Ragged.of([np.zeros(len(text), dtype=np.int8) for text in texts]), pad_id=1
    )
    return task_of(samples, torch.arange(10) % 2, TextPreprocessing(tokenizer=tokenizer, max_length=16))


def waves_task(width: int = 0) -> Task:
    rng = np.random.default_rng(0)
    shapes = [(int(length), width) if width else (int(length),) for length in rng.integers(300, 700, 10)]
    samples = Sounds(Ragged.of([rng.normal(0, 0.2, shape).astype(np.float32) for shape in shapes]))
    extractor: Any = None
    return task_of(samples, torch.arange(10) % 2, AudioPreprocessing(sampling_rate=16_000, extractor=extractor))


class TestTexts:
    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, tmp_path_factory: pytest.TempPathFactory) -> Subject:
        folder = tmp_path_factory.mktemp("bert")
        TEXTS["bert"].save(folder)
        backbone = build(lookup(f"hf/{folder}"))
        task = replace(tokens_task(), preprocessing=backbone.preprocessing)
        finetuner = Finetuner(FinetuneConfig(backbone=f"hf/{folder}"), backbone, task, torch.device("cpu"))
        return Subject(finetuner)

    def test_each_token_moves_by_a_share_of_its_length_and_padding_stays(self, subject: Subject) -> None:
        surface, targets, rows = of_all(subject)
        _, mask, _ = subject.encoded(subject.task.test, torch.arange(10))
        adversary = Adversary(subject)
        moved = adversary.fgsm(surface, targets, 0.1) - surface.values
        assert torch.allclose(moved.norm(dim=2), 0.1 * surface.values.norm(dim=2) * mask, atol=1e-5)
        moved = adversary.pgd(surface, targets, 0.1, rows) - surface.values
        assert not moved[mask == 0].any()
        assert bool((moved.norm(dim=2) <= 0.1001 * surface.values.norm(dim=2)).all())
        assert bool((moved.abs().amax(dim=2)[mask == 1] > 0).all())

    def test_nothing_moved_gives_the_answers_of_the_whole_network(self, subject: Subject) -> None:
        surface, _, _ = of_all(subject)
        encoded = subject.encoded(subject.task.test, torch.arange(10))
        with torch.no_grad():
            assert torch.equal(Adversary(subject).outputs(surface, surface.values), subject.outputs(encoded))

    def test_the_loss_grows(self, subject: Subject) -> None:
        surface, targets, rows = of_all(subject)
        adversary = Adversary(subject)

        def loss(values: Tensor) -> float:
            return float(subject.objective.loss(adversary.outputs(surface, values), targets))

        clean, mild, strong = (loss(adversary.pgd(surface, targets, e, rows)) for e in (0.0, 0.01, 0.1))
        assert clean < mild < strong

    def test_it_is_measured_and_leaves_nothing(self, subject: Subject) -> None:
        found = untouched(subject, lambda: attacks(subject, ALL))
        assert {m.condition for m in found.measures} == {"clean", "fgsm:0.01", "pgd:0.01", "fgsm:0.1", "pgd:0.1"}

    def test_a_block_without_tokens_is_not_attacked(self) -> None:
        bag = planted(tokens_task(), [lambda x: (x[0] * x[1]).float().sum(dim=1, keepdim=True)], nn.Linear(1, 2))
        found = attacks(bag, ALL)
        assert found.measures == ()
        assert "no vector for each token" in found.notes[0]


class TestSounds:
    @pytest.mark.parametrize("width", [0, 3])
    def test_each_sound_moves_by_a_share_of_its_peak_and_padding_stays(self, width: int) -> None:
        def power(state: tuple[Tensor, ...]) -> Tensor:
            values, mask = state
            return (values.reshape(*mask.shape, -1).square().mean(dim=2) * mask).sum(dim=1, keepdim=True)

        subject = planted(waves_task(width), [power], linear([[1.0], [-1.0]], [-10.0, 10.0]))
        surface, targets, rows = of_all(subject)
        _, mask = subject.encoded(subject.task.test, torch.arange(10))
        adversary = Adversary(subject)
        peak = surface.values.abs().flatten(1).amax(dim=1)
        for attacked in (adversary.fgsm(surface, targets, 0.01), adversary.pgd(surface, targets, 0.01, rows)):
            moved = attacked - surface.values
            assert not moved[mask == 0].any()
            assert torch.allclose(moved.abs().flatten(1).amax(dim=1), 0.01 * peak, rtol=1e-3)

    def test_a_network_of_waveforms(self, tmp_path: Path) -> None:
        SOUNDS["wav2vec2-layer-norm"].save(tmp_path)
        backbone = build(lookup(f"hf/{tmp_path}"))
        task = replace(waves_task(), preprocessing=backbone.preprocessing)
        finetuner = Finetuner(FinetuneConfig(backbone=f"hf/{tmp_path}"), backbone, task, torch.device("cpu"))
        subject = Subject(finetuner)
        found = untouched(subject, lambda: attacks(subject, Evaluation(num_attacked=4)))
        assert {m.condition for m in found.measures} == {"clean", "fgsm:0.001", "pgd:0.001", "fgsm:0.01", "pgd:0.01"}
