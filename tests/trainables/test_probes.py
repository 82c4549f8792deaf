"""Probes trained together are the probes that `Finetuner` trains one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from probe_scenes import (
    CPU,
    HEADS,
    MAX_EPOCHS,
    MEMBERS,
    compare,
    configs,
    require_equal_runs,
    with_head,
)
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.config import EpochMetrics
from trainables.data import Split, Task
from trainables.errors import Diverged
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.objective import make_objective
from trainables.probe_capacity import probe_capacity
from trainables.probe_group import MAX_TOGETHER
from trainables.probes import ProbeGroup


def with_targets(task: Task, kind: Any, num_outputs: int, of: Callable[[Tensor], Tensor]) -> Task:
    def mapped(split: Split) -> Split:
        return replace(split, targets=of(split.targets))

    train, val, test = map(mapped, (task.train, task.val, task.test))
    objective = make_objective(kind, num_outputs, train.targets, test.targets)
    return replace(task, train=train, val=val, test=test, objective=objective)


def as_numbers(task: Task) -> Task:
    return with_targets(task, "regression", 2, lambda t: torch.stack([1000 + 100.0 * t, 3 - t.float()], dim=1))


def as_labels(task: Task) -> Task:
    return with_targets(task, "multilabel", 3, lambda t: ((t[:, None] >> torch.arange(3)) & 1).float())


def as_classes(task: Task) -> Task:
    return task


class TestEqualToOneByOne:
    @pytest.mark.parametrize("head", HEADS)
    @pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
    def test_optimizers_schedules_seeds_and_heads(self, digits: Task, optimizer: str, head: str) -> None:
        backbone = with_head(HEADS[head]())
        compare(backbone, digits, configs(backbone, optimizer=optimizer))

    @pytest.mark.parametrize("kind", [as_classes, as_labels, as_numbers])
    @pytest.mark.parametrize("head_init", ["random", "probe"])
    @pytest.mark.parametrize("class_weight", ["none", "balanced"])
    def test_kinds_of_tasks_weights_of_classes_and_fitted_heads(
        self, digits: Task, kind: Any, head_init: str, class_weight: str
    ) -> None:
        if kind is as_numbers and class_weight == "balanced":
            pytest.skip("a regression has no classes")
        backbone = with_head(HEADS["dropout"]())
        compare(backbone, kind(digits), configs(backbone, MEMBERS[:2], head_init=head_init, class_weight=class_weight))

    def test_the_backbone_of_a_library(self, small: Backbone, digits: Task) -> None:
        compare(small, digits, configs(small, MEMBERS[:2]))

    def test_bf16(self, digits: Task) -> None:
        """Its outputs have three digits; the last of them may fall either way."""
        backbone = with_head(HEADS["dropout"]())
        members = configs(backbone, precision="bf16")
        group = ProbeGroup(members, backbone, digits, CPU)
        exact = ProbeGroup(configs(backbone), backbone, digits, CPU)
        for config, other in zip(members, exact.members, strict=True):
            run, alone = group.run(config), Finetuner(config, backbone, digits, CPU)
            for _ in range(MAX_EPOCHS):
                epoch, expected = run.train_epoch(), alone.train_epoch()
                assert epoch.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
                assert epoch.val_loss == pytest.approx(expected.val_loss, rel=1e-3)
                assert epoch.train_loss != other.train_epoch().train_loss, "the test shows nothing"

    def test_more_members_than_one_group_of_random_configurations(self, digits: Task) -> None:
        rng = np.random.default_rng(0)
        drawn = tuple(
            {
                "seed": int(rng.integers(2**31)),
                "head_learning_rate": float(10 ** rng.uniform(-4, -0.5)),
                "weight_decay": float(10 ** rng.uniform(-4, 0)),
                "warmup_frac": float(rng.uniform(0, 0.9)),
                "schedule": str(rng.choice(["cosine", "constant", "step"])),
            }
            for _ in range(12)
        )
        backbone = with_head(HEADS["dropout"]())
        compare(backbone, digits, configs(backbone, drawn, max_epochs=2))


@dataclass(frozen=True)
class Sequences:
    """Of unequal lengths: ``(values, mask)``, padded to the longest of a batch."""

    values: Tensor
    lengths: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return self.values[rows, : mask.shape[1]] * mask, mask.long()

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Plain:
    """A preprocessing that leaves everything as it is."""

    modality: str = "text"

    def on_device(self) -> nn.Module:
        return nn.Identity()


class Mean(nn.Module):
    """Pools a sequence, or only transforms it."""

    def __init__(self, pool: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, generator=torch.Generator().manual_seed(0)))
        self.pool = pool

    def forward(self, state: tuple[Tensor, Tensor]) -> Tensor:
        values, mask = state
        hidden = torch.tanh(values[..., None] * self.weight)
        return hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True) if self.pool else hidden


@pytest.fixture
def sequences(digits: Task) -> Task:
    """61 to train on: a batch of 8 leaves five over, which come at another step in every order."""
    generator = torch.Generator().manual_seed(0)
    samples = Sequences(torch.randn(100, 9, generator=generator), torch.randint(1, 10, (100,), generator=generator))
    targets = (samples.values[:, 0] > 0).long()

    def split(rows: Tensor) -> Split:
        return Split(samples=samples, rows=rows, targets=targets[rows])  # type: ignore[arg-type]

    train, val, test = (split(torch.arange(a, b)) for a, b in ((0, 61), (61, 80), (80, 100)))
    objective = make_objective("classification", 2, train.targets, test.targets)
    return replace(
        digits,
        preprocessing=Plain(),  # type: ignore[arg-type]
        train=train,
        val=val,
        test=test,
        objective=objective,
        digest="0" * 64,
    )


def of_sequences(small: Backbone, pool: bool) -> Backbone:
    head = HEADS["dropout"]() if pool else nn.Sequential(nn.AdaptiveAvgPool2d((1, 24)), nn.Flatten(), nn.Linear(24, 2))
    return Backbone(small.spec, [Mean(pool)], head, Plain())  # type: ignore[arg-type]


class TestSequences:
    def test_the_smaller_batch_comes_at_another_step_for_each_member(self, small: Backbone, sequences: Task) -> None:
        backbone = of_sequences(small, pool=True)
        members = configs(backbone)
        assert probe_capacity(members[0], backbone, sequences, Execution()) == MAX_TOGETHER
        compare(backbone, sequences, members)

    def test_sequences_that_are_not_pooled_are_trained_alone(self, small: Backbone, sequences: Task) -> None:
        backbone = of_sequences(small, pool=False)
        assert probe_capacity(configs(backbone)[0], backbone, sequences, Execution()) == 0


class TestDivergence:
    def test_it_concerns_one_member_alone(self, digits: Task) -> None:
        backbone = with_head(HEADS["dropout"]())
        bad = {"seed": 5, "head_learning_rate": 1e30}
        members = configs(backbone, (MEMBERS[0], bad, *MEMBERS[1:]), optimizer="sgd", batch_size=16)
        group = ProbeGroup(members, backbone, digits, CPU)
        for config in (members[0], *members[2:]):
            require_equal_runs(group.run(config), Finetuner(config, backbone, digits, CPU))
        run, alone = group.run(members[1]), Finetuner(members[1], backbone, digits, CPU)
        with pytest.raises(Diverged) as expected:
            alone.train_epoch()
        for _ in range(2):
            with pytest.raises(Diverged, match=str(expected.value)):
                run.train_epoch()
        assert (run.epoch, run.best) == (0, None)
        with pytest.raises(ValueError, match="at least one completed epoch"):
            run.measure_test()


class TestGoingOn:
    @pytest.mark.parametrize("epoch", range(MAX_EPOCHS + 1))
    def test_in_another_process_it_is_the_run_that_nobody_interrupted(self, digits: Task, epoch: int) -> None:
        """To the bit, for every member, wherever it was; what was best before counts."""
        backbone = with_head(HEADS["dropout"]())
        members = configs(backbone)
        whole, again = (ProbeGroup(members, backbone, digits, CPU) for _ in range(2))
        for config in members:
            run, resumed = whole.run(config), again.run(config)
            epochs = [run.train_epoch() for _ in range(MAX_EPOCHS)]
            torch.manual_seed(epoch)
            resumed.go_on_after(epoch)
            assert resumed.epoch == epoch
            best = [metrics for metrics in epochs[:epoch] if metrics.is_best]
            assert (None if resumed.best is None else untimed(resumed.best)) == (untimed(best[-1]) if best else None)
            rest = [resumed.train_epoch() for _ in range(MAX_EPOCHS - epoch)]
            assert [untimed(metrics) for metrics in rest] == [untimed(metrics) for metrics in epochs[epoch:]]
            resumed.go_on_after(1)
            assert resumed.epoch == MAX_EPOCHS, "it does not go back"
            a, b = resumed.measure_test(), run.measure_test()
            assert a.quality == b.quality
            assert np.array_equal(a.example_scores, b.example_scores)

    def test_not_beyond_the_last_epoch(self, digits: Task) -> None:
        backbone = with_head(HEADS["linear"]())
        run = ProbeGroup(configs(backbone), backbone, digits, CPU).members[0]
        with pytest.raises(ValueError, match="all 3 epochs have been trained"):
            run.go_on_after(MAX_EPOCHS + 1)


def untimed(metrics: EpochMetrics) -> EpochMetrics:
    return replace(metrics, train_s=0.0, eval_s=0.0)
