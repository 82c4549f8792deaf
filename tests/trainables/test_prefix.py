"""Training behind cached activations is the training behind the frozen blocks themselves, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.step import TrainStep

CACHED, COMPUTED = Execution(activation_cache="always"), Execution(activation_cache="off")

Pair = tuple[Backbone, Task]

BACKBONES = (
    "torchvision/mobilenet_v3_small@random",
    "torchvision/resnet18@random",
    "timm/test_vit@random",
    "timm/test_convnext@random",
)

TOLERANCE = {"sgd": 1e-6, "adam": 1e-5, "adamw": 1e-5}
"""Relative, of losses in fp32. Kernels may round a sample differently in another batch, by 1e-7; Adam divides by
the root of the gradient's square, and so makes much of such differences where gradients are small."""


@pytest.fixture(scope="module", params=BACKBONES)
def pair(request: pytest.FixtureRequest) -> Pair:
    backbone = build(lookup(request.param)).to(memory_format=torch.channels_last)
    size = None if "test_" in request.param else 32
    spec = TaskSpec(name="digits", image_size=size, num_train=40, num_val=16, num_test=16)
    task = load_task(spec, backbone.preprocessing)
    # As if trained: with the statistics that BatchNorm starts with, features fade to 1e-17, and rounding is all
    # that is left of them.
    torch.manual_seed(0)
    backbone.train()
    with torch.no_grad():
        for _ in range(40):
            backbone(task.preprocessing.on_device()(task.train.batch(torch.arange(40))[0]))
    return backbone.eval(), task


def losses(
    pair: Pair, execution: Execution, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[list[float], list[float], Tensor]:
    """Of every step, of every validation, and the outputs of the best epoch's weights on test."""
    backbone, task = pair
    seen: list[float] = []
    plain = TrainStep.__call__

    def noting(step: TrainStep, state: Any, targets: Tensor) -> Tensor:
        loss = plain(step, state, targets)
        seen.append(float(loss))
        return loss

    monkeypatch.setattr(TrainStep, "__call__", noting)
    config = FinetuneConfig(backbone=backbone.spec.name, batch_size=9, max_epochs=2, **options)
    finetuner = Finetuner(config, backbone, task, torch.device("cpu"), execution)
    val = [metrics.val_loss for metrics in finetuner.epochs()]
    monkeypatch.undo()
    return seen, val, finetuner.predict(task.test)[0]


def assert_same_run(pair: Pair, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    tolerance = TOLERANCE[options.get("optimizer", "adamw")]
    cached, computed = (losses(pair, execution, monkeypatch, **options) for execution in (CACHED, COMPUTED))
    assert cached[0] == pytest.approx(computed[0], rel=tolerance)
    assert cached[1] == pytest.approx(computed[1], rel=tolerance)
    torch.testing.assert_close(cached[2], computed[2], rtol=1e-4, atol=1e-5)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that are read from a cache."""
    from trainables.activations import Activations

    sizes: list[int] = []
    plain = Activations.batch
    monkeypatch.setattr(Activations, "batch", lambda self, p: (sizes.append(len(p)), plain(self, p))[1])
    return sizes


@pytest.mark.slow
class TestSameLosses:
    @pytest.mark.parametrize(
        ("share", "optimizer"), [(0.01, "adamw"), (0.5, "sgd"), (0.5, "adam"), (0.8, "adamw"), (1.0, "adamw")]
    )
    def test_at_every_depth_and_with_every_optimizer(
        self, pair: Pair, share: float, optimizer: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        depth = max(1, round(share * pair[0].num_blocks))
        rate = 1e-2 if optimizer == "sgd" else 1e-3
        assert_same_run(pair, monkeypatch, freeze_depth=depth, optimizer=optimizer, learning_rate=rate)

    def test_in_a_window(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        num = pair[0].num_blocks
        assert_same_run(pair, monkeypatch, tune_window=(num // 2, num - 1))

    def test_with_a_fitted_head(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        assert_same_run(pair, monkeypatch, freeze_depth=pair[0].num_blocks // 2, head_init="probe")

    def test_in_fixed_views(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        options = {"augmentation": "crop_flip", "augment_views": 2}
        assert_same_run(pair, monkeypatch, freeze_depth=pair[0].num_blocks // 2, **options)


class TestWhatIsRead:
    def run(self, make: Callable[..., Finetuner], **options: Any) -> Finetuner:
        finetuner = make(execution=CACHED, **options)
        list(finetuner.epochs())
        finetuner.measure_test()
        return finetuner

    def test_every_batch_behind_frozen_blocks(
        self, make: Callable[..., Finetuner], reads: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        # Of its own: a shallower boundary that is there is read as well.
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path))
        self.run(make, freeze_depth=5)
        assert sum(reads) == 2 * 33 + 2 * 20 + 22

    def test_nothing_where_nothing_is_frozen(self, make: Callable[..., Finetuner], reads: list[int]) -> None:
        self.run(make, freeze_depth=0)
        assert reads == []

    def test_no_training_sample_where_views_are_drawn_anew(
        self, make: Callable[..., Finetuner], reads: list[int]
    ) -> None:
        self.run(make, freeze_depth=5, augmentation="flip")
        assert sum(reads) == 2 * 20 + 22

    def test_fixed_views_in_turn(self, make: Callable[..., Finetuner], reads: list[int]) -> None:
        finetuner = self.run(make, freeze_depth=5, augmentation="flip", augment_views=2, max_epochs=3)
        assert sum(reads) == 3 * 33 + 3 * 20 + 22
        assert finetuner.best is not None

    def test_frozen_blocks_run_once_for_all_runs(
        self, make: Callable[..., Finetuner], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path))
        self.run(make, freeze_depth=5, seed=1)
        ran: list[int] = []
        plain = Backbone.features
        monkeypatch.setattr(
            Backbone, "features", lambda self, x, a=0, b=None: (ran.append(b or 99), plain(self, x, a, b))[1]
        )
        self.run(make, freeze_depth=5, seed=2, learning_rate=1e-2)
        assert set(ran) == {99}  # what is tuned, and nothing before it
