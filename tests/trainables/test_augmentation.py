"""Views of training images: each sample's own draw, fresh or one of a few."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.augmentation import Augmentation
from trainables.backbones import Backbone
from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.errors import InvalidConfig
from trainables.finetune import Finetuner
from trainables.preprocessing import AudioPreprocessing
from trainables.step import TrainStep

SIDE = 16


def images(num: int) -> Tensor:
    return torch.randint(1, 256, (num, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@given(st.integers(1, 40), st.integers(0, 2**64 - 1))
def test_flipped_images_are_themselves_or_mirrored(num: int, seed: int) -> None:
    pixels = images(num)
    augmentation = Augmentation("flip", num, 0)
    augmentation.begin(0, seed)
    for shown, image in zip(augmentation(pixels, torch.arange(num)), pixels, strict=True):
        assert torch.equal(shown, image) or torch.equal(shown, image.flip(-1))


@given(st.integers(1, 40), st.integers(0, 2**63 - 1))
def test_cropped_images_are_shifted_by_at_most_an_eighth(num: int, seed: int) -> None:
    pixels = images(num)
    augmentation = Augmentation("crop_flip", num, 0)
    augmentation.begin(0, seed)
    margin = SIDE // 8
    wide = torch.nn.functional.pad(pixels, (margin,) * 4)
    for shown, image in zip(augmentation(pixels, torch.arange(num)), wide, strict=True):
        crops = [
            image[:, top : top + SIDE, left : left + SIDE]
            for top in range(2 * margin + 1)
            for left in range(2 * margin + 1)
        ]
        assert any(torch.equal(shown, crop) or torch.equal(shown, crop.flip(-1)) for crop in crops)


def test_a_sample_is_shown_the_same_whatever_its_batch() -> None:
    pixels = images(20)
    augmentation = Augmentation("crop_flip", 20, 0)
    augmentation.begin(0, 5)
    whole = augmentation(pixels, torch.arange(20))
    some = torch.tensor([7, 3, 19])
    assert torch.equal(augmentation(pixels[some], some), whole[some])


def test_fresh_views_differ_by_epoch_and_fixed_ones_come_round_whatever_the_seed() -> None:
    pixels, everyone = images(30), torch.arange(30)

    def shown(num_views: int, epoch: int, seed: int) -> Tensor:
        augmentation = Augmentation("crop_flip", 30, num_views)
        augmentation.begin(epoch, seed)
        return augmentation(pixels, everyone)

    assert not torch.equal(shown(0, 0, 1), shown(0, 1, 2))
    assert torch.equal(shown(3, 1, 1), shown(3, 4, 2))
    assert not torch.equal(shown(3, 0, 1), shown(3, 1, 1))


class TestFinetuning:
    def test_validation_and_test_see_no_views(self, make: Callable[..., Finetuner]) -> None:
        plain, augmented = (
            make(augmentation=name, learning_rate=0, head_learning_rate=0, freeze_depth=1, weight_decay=0)
            for name in ("none", "crop_flip")
        )
        for split in (plain.task.val, plain.task.test, plain.task.train):
            assert torch.equal(plain.predict(split)[0], augmented.predict(split)[0])

    def test_training_does(self, make: Callable[..., Finetuner], monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[Tensor] = []
        step = TrainStep.__call__

        def seen(self: TrainStep, state: Tensor, targets: Tensor) -> Tensor:
            shown.append(state)
            return step(self, state, targets)

        monkeypatch.setattr(TrainStep, "__call__", seen)
        epochs = []
        for name in ("none", "flip", "crop_flip"):
            shown.clear()
            make(augmentation=name, freeze_depth=0).train_epoch()
            epochs.append(torch.cat(shown))
        plain, flipped, cropped = epochs
        mirrored = (flipped != plain).flatten(1).any(1)
        assert 0.3 < mirrored.float().mean() < 0.7
        assert torch.equal(flipped[mirrored], plain[mirrored].flip(-1))
        assert (cropped != plain).flatten(1).any(1).float().mean() > 0.7

    def test_a_run_with_views_is_the_same_twice_and_after_a_resume(self, make: Callable[..., Finetuner]) -> None:
        whole = make(augmentation="crop_flip", max_epochs=3)
        expected = [metrics.train_loss for metrics in whole.epochs()]
        first = make(augmentation="crop_flip", max_epochs=3)
        first.train_epoch()
        resumed = make(augmentation="crop_flip", max_epochs=3)
        resumed.load_state(first.state())
        assert [metrics.train_loss for metrics in resumed.epochs()] == expected[1:]

    def test_other_data_have_none(self, small: Backbone, digits: Task) -> None:
        sounds = dataclasses.replace(
            digits, preprocessing=AudioPreprocessing(sampling_rate=8000, extractor=lambda waveform: waveform)
        )
        config = FinetuneConfig(backbone=small.spec.name, augmentation="flip")
        with pytest.raises(InvalidConfig, match="augmentation must be none for audio, got 'flip'"):
            Finetuner(config, small, sounds)
