"""What is known of freezing comes out: where to tune depends on what has changed, and a probe is a probe.

A small network is pretrained on clean digits, then adapted to digits that differ in their input or in
their labels (surgical fine-tuning, Lee et al. 2023, arXiv 2210.11466).
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.catalog import BackboneSpec
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Split, Task
from trainables.data.samples import Pixels
from trainables.errors import FrozenMoved
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.objective import make_objective
from trainables.preprocessing import ImagePreprocessing

NAME = "mine/four_convolutions"
NUM_BLOCKS = 4
SEEDS = (0, 1, 2)
HALF = ImagePreprocessing(input_size=8, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_frac=1.0)

Adapt = Callable[..., float]


def four_convolutions() -> Backbone:
    def block(width_in: int, width: int, stride: int = 1) -> nn.Sequential:
        convolution = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())

    torch.manual_seed(0)
    last = nn.Sequential(block(64, 64, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    spec = BackboneSpec(source="mine", architecture="four_convolutions", weights=None)
    return Backbone(spec, [block(3, 24), block(24, 48, stride=2), block(48, 64), last], nn.Linear(64, 10), HALF)


def task(images: Tensor, targets: Tensor, start: int, num_train: int) -> Task:
    """Training and validation rows from `start` on; test rows are the same for every task."""

    def split(begin: int, end: int) -> Split:
        return Split(samples=Pixels(images), rows=torch.arange(begin, end), targets=targets[begin:end])

    train, test = split(start, start + num_train), split(1100, 1797)
    return Task(
        spec=TaskSpec(name="digits"),
        preprocessing=HALF,
        train=train,
        val=split(start + num_train, start + num_train + 100),
        test=test,
        objective=make_objective("classification", 10, train.targets, test.targets),
        class_names=tuple("0123456789"),
        digest=hashlib.sha256(images.numpy().tobytes()).hexdigest(),  # of activations that are cached, too
    )


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """Images uint8 (1797, 3, 8, 8), shuffled, and their classes."""
    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(grey))
    return torch.from_numpy(np.repeat(grey[order][:, None], 3, axis=1)), torch.from_numpy(bunch.target[order])


@pytest.fixture(scope="module")
def pretrained(digits: tuple[Tensor, Tensor]) -> Backbone:
    finetuner = Finetuner(
        FinetuneConfig(backbone=NAME, max_epochs=12, learning_rate=3e-3), four_convolutions(), task(*digits, 0, 600)
    )
    assert [metrics.val_score for metrics in finetuner.epochs()][-1] > 0.95
    return finetuner.backbone.eval()


@pytest.fixture
def adapt(pretrained: Backbone) -> Adapt:
    """Mean test accuracy over seeds of adapting to data that pretraining has not seen."""

    def adapt(images: Tensor, targets: Tensor, num_train: int, **options: Any) -> float:
        config = {"backbone": NAME, "batch_size": 16, "max_epochs": 15, "learning_rate": 3e-3, **options}
        accuracies = []
        for seed in SEEDS:
            finetuner = Finetuner(
                FinetuneConfig(**config, seed=seed), pretrained, task(images, targets, 700, num_train)
            )
            list(finetuner.epochs())
            accuracies.append(finetuner.measure_test().quality.accuracy)
        return float(np.mean(accuracies))

    return adapt


def trend(accuracies: list[float]) -> float:
    """Kendall's tau between the freeze depth and the accuracy."""
    return float(kendalltau(range(len(accuracies)), accuracies).statistic)


def noisy(images: Tensor) -> Tensor:
    """Noise drowns two of the three colours: the first filters can learn to look away from them."""
    drowned = torch.tensor([300.0, 300.0, 0.0]).view(1, 3, 1, 1)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)) * drowned
    return (images + noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.slow
def test_on_noisy_inputs_accuracy_falls_with_the_freeze_depth(digits: tuple[Tensor, Tensor], adapt: Adapt) -> None:
    images, targets = digits
    accuracies = [adapt(noisy(images), targets, 100, freeze_depth=k) for k in range(NUM_BLOCKS + 1)]
    assert trend(accuracies) <= -0.8
    assert accuracies[0] - accuracies[-1] > 0.1


@pytest.mark.slow
def test_on_inverted_inputs_accuracy_falls_with_the_freeze_depth(digits: tuple[Tensor, Tensor], adapt: Adapt) -> None:
    images, targets = digits
    accuracies = [adapt(255 - images, targets, 40, freeze_depth=k) for k in range(NUM_BLOCKS + 1)]
    assert trend(accuracies) < 0
    assert accuracies[0] - accuracies[-1] > 0.15


@pytest.mark.slow
def test_on_flipped_labels_accuracy_rises_with_the_freeze_depth(digits: tuple[Tensor, Tensor], adapt: Adapt) -> None:
    images, targets = digits
    accuracies = [adapt(images, 9 - targets, 40, freeze_depth=k, learning_rate=1e-2) for k in range(NUM_BLOCKS + 1)]
    assert trend(accuracies) >= 0.6
    assert accuracies[-1] - accuracies[0] > 0.03


@pytest.mark.slow
def test_tuning_the_first_block_alone_helps_against_noise_and_the_last_alone_does_not(
    digits: tuple[Tensor, Tensor], adapt: Adapt
) -> None:
    images, targets = digits
    first, last, probe = (
        adapt(noisy(images), targets, 100, **where)
        for where in ({"tune_window": (0, 1)}, {"tune_window": (3, 4)}, {"freeze_depth": NUM_BLOCKS})
    )
    assert first > last + 0.05
    assert abs(last - probe) < abs(first - probe)


class TestProbe:
    """Data whose statistics have shifted: what a leaking BatchNorm makes of them looks like adaptation."""

    @pytest.fixture
    def shifted(self, digits: tuple[Tensor, Tensor]) -> Task:
        images, targets = digits
        return task((images // 4 + 150).to(torch.uint8), targets, 700, 100)

    def probe(self, pretrained: Backbone, shifted: Task) -> Finetuner:
        config = FinetuneConfig(backbone=NAME, freeze_depth=NUM_BLOCKS, max_epochs=10, batch_size=16)
        # A copy: what leaks would move the pretrained tensors that frozen blocks share. And nothing cached: a
        # prefix that does not run cannot leak.
        return Finetuner(config, copy.deepcopy(pretrained), shifted, execution=Execution(activation_cache="off"))

    def test_freezing_gradients_alone_reads_far_more_than_the_features_hold(
        self, pretrained: Backbone, shifted: Task
    ) -> None:
        honest, leaking = self.probe(pretrained, shifted), self.probe(pretrained, shifted)
        leaking.backbone.frozen = frozenset()  # what `requires_grad_(False)` on every block leaves
        leaking._frozen_checksum = ()
        assert not any(p.requires_grad for p in leaking.backbone.blocks.parameters())
        for finetuner in (honest, leaking):
            list(finetuner.epochs())
        moved = [
            name
            for name, tensor in leaking.backbone.blocks.state_dict().items()
            if not torch.equal(tensor, honest.backbone.blocks.state_dict()[name])
        ]
        assert len(moved) == 3 * NUM_BLOCKS  # mean, variance and count of every BatchNorm
        scores = [finetuner.measure_test().quality.accuracy for finetuner in (honest, leaking)]
        assert scores[0] is not None
        assert scores[1] is not None
        assert scores[1] > scores[0] + 0.1

    def test_frozen_blocks_put_in_train_mode_by_hand_are_put_back(self, pretrained: Backbone, shifted: Task) -> None:
        untouched, tampered = self.probe(pretrained, shifted), self.probe(pretrained, shifted)
        tampered.backbone.blocks.train()
        assert untouched.train_epoch().val_loss == tampered.train_epoch().val_loss

    def test_statistics_that_leak_fail_the_epoch(
        self, pretrained: Backbone, shifted: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe = self.probe(pretrained, shifted)
        monkeypatch.setattr(Backbone, "train", nn.Module.train)
        with pytest.raises(FrozenMoved, match="a tensor in the 4 frozen blocks"):
            probe.train_epoch()

    def test_a_frozen_tail_does_not_move_either(self, pretrained: Backbone, shifted: Task) -> None:
        config = FinetuneConfig(backbone=NAME, tune_window=(0, 1), max_epochs=1, batch_size=16)
        finetuner = Finetuner(config, pretrained, shifted)
        finetuner.train_epoch()
        for index, (before, after) in enumerate(zip(pretrained.blocks, finetuner.backbone.blocks, strict=True)):
            pairs = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs) is (index != 0)


def test_the_probe_that_starts_lp_ft_is_the_one_it_starts_from(
    pretrained: Backbone, digits: tuple[Tensor, Tensor]
) -> None:
    """With nothing learnt afterwards, LP-FT is the linear probe; and it starts far below a random head."""
    images, targets = digits
    here = task(images, 9 - targets, 700, 100)
    fitted, random = (
        Finetuner(
            FinetuneConfig(backbone=NAME, head_init=init, learning_rate=0, head_learning_rate=0, max_epochs=1),
            pretrained,
            here,
        ).train_epoch()
        for init in ("probe", "random")
    )
    assert fitted.val_accuracy is not None
    assert fitted.val_accuracy > 0.9
    assert random.val_loss == pytest.approx(np.log(10), abs=0.2)


def test_a_pull_towards_the_pretrained_weights_keeps_them_near(
    pretrained: Backbone, digits: tuple[Tensor, Tensor]
) -> None:
    images, targets = digits
    distances = []
    for strength in (0.0, 0.1, 10.0):
        config = FinetuneConfig(backbone=NAME, stay_near=strength, max_epochs=3, optimizer="sgd", batch_size=16)
        finetuner = Finetuner(config, pretrained, task(255 - images, targets, 700, 100))
        list(finetuner.epochs())
        pairs = zip(pretrained.blocks.parameters(), finetuner.backbone.blocks.parameters(), strict=True)
        distances.append(sum(float((a - b).detach().square().sum()) for a, b in pairs) ** 0.5)
    assert distances[0] > 1.05 * distances[1] > 1.05 * distances[2]
