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
    "timm/tf_efficientnet_lite0@pypi",
    "torchvision/resnet18@random",
    "timm/test_vit@random",
    "timm/test_convnext@random",
)

TOLERANCE = 1e-6
"""Relative, of losses in fp32."""

BATCH = 20
"""All batches are of this size, for which kernels sum as they did for the cache. In others they may round a sample
differently by 1e-7, and a few steps through BatchNorm over a handful of samples make a tenth of that: with cache or
without, if the inputs are changed by as much."""


@pytest.fixture(scope="module", params=BACKBONES)
def pair(request: pytest.FixtureRequest) -> Pair:
    backbone = build(lookup(request.param)).to(memory_format=torch.channels_last)
    size = None if "test_" in request.param else 32
    spec = TaskSpec(name="digits", image_size=size, num_train=40, num_val=16, num_test=16)
    task = load_task(spec, backbone.preprocessing)
    return backbone, task


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
    config = FinetuneConfig(backbone=backbone.spec.name, batch_size=BATCH, max_epochs=3, **options)
    finetuner = Finetuner(config, backbone, task, torch.device("cpu"), execution)
    val = [metrics.val_loss for metrics in finetuner.epochs()]
    monkeypatch.undo()
    return seen, val, finetuner.predict(task.test)[0]


def assert_same_run(pair: Pair, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    cached, computed = (losses(pair, execution, monkeypatch, **options) for execution in (CACHED, COMPUTED))
    assert cached[0] == pytest.approx(computed[0], rel=TOLERANCE)
    assert cached[1] == pytest.approx(computed[1], rel=TOLERANCE)
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


def test_a_batch_of_any_size_is_what_the_blocks_give_it(pair: Pair) -> None:
    backbone, task = pair
    config = FinetuneConfig(backbone=backbone.spec.name, freeze_depth=backbone.num_blocks // 2)
    cached, computed = (Finetuner(config, *pair, torch.device("cpu"), execution) for execution in (CACHED, COMPUTED))
    for positions in torch.split(torch.randperm(40, generator=torch.Generator().manual_seed(0)), [9, 1, 3, 27]):
        read, run = (finetuner._prefix.batch(task.train, positions) for finetuner in (cached, computed))
        assert isinstance(read, Tensor)
        assert isinstance(run, Tensor)
        assert float((read - run).abs().max()) <= 2e-6 * float(run.abs().max())


class TestWhatIsRead:
    @pytest.fixture(autouse=True)
    def own_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A shallower boundary that another test has left is read as well."""
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path))

    def run(self, make: Callable[..., Finetuner], **options: Any) -> Finetuner:
        finetuner = make(execution=CACHED, **options)
        list(finetuner.epochs())
        finetuner.measure_test()
        return finetuner

    def test_every_batch_behind_frozen_blocks(self, make: Callable[..., Finetuner], reads: list[int]) -> None:
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
        self, make: Callable[..., Finetuner], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(make, freeze_depth=5, seed=1)
        ran: list[int] = []
        plain = Backbone.features
        monkeypatch.setattr(
            Backbone, "features", lambda self, x, a=0, b=None: (ran.append(b or 99), plain(self, x, a, b))[1]
        )
        self.run(make, freeze_depth=5, seed=2, learning_rate=1e-2)
        assert set(ran) == {99}  # what is tuned, and nothing before it


def test_no_later_split_gets_the_name_by_which_activations_were_opened(make: Callable[..., Finetuner]) -> None:
    """They are found again by where the split is in memory, so that it must stay there."""
    finetuner = make(freeze_depth=4, execution=CACHED)
    train = finetuner.task.train
    part = train.at(torch.arange(5))
    finetuner.predict(part)
    opened = id(part)
    del part
    later = [train.at(torch.arange(1, 6)) for _ in range(1000)]
    assert opened not in map(id, later)
