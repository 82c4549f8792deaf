"""Learning rates and weight decay reach the parameters they are meant for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainables.backbones import Backbone
from trainables.config import FinetuneConfig
from trainables.freezing import freeze
from trainables.optimization import make_optimizer, make_schedule


@pytest.fixture
def backbone(small: Backbone) -> Backbone:
    """Three blocks and a head, each a matrix with a bias and a norm."""
    blocks = [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(3)]
    return Backbone(small.spec, list(blocks), nn.Linear(3, 2), small.preprocessing)


def config(**options: object) -> FinetuneConfig:
    return FinetuneConfig(backbone="timm/resnet18", **options)  # type: ignore[arg-type]


def settings(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> tuple[float, float]:
    """Learning rate and weight decay of the one group that holds `parameter`."""
    [group] = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    return group["lr"], group["weight_decay"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_each_block_learns_slower_than_the_one_after_it(backbone: Backbone, optimizer: str) -> None:
    options = {"learning_rate": 0.4, "head_learning_rate": 3.0, "layer_decay": 0.5, "optimizer": optimizer}
    made = make_optimizer(config(**options), backbone)
    rates = [settings(made, block[0].weight)[0] for block in backbone.blocks]  # type: ignore[index]
    assert rates == pytest.approx([0.1, 0.2, 0.4])
    assert settings(made, backbone.head.weight)[0] == 3.0  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_biases_and_norms_are_not_decayed(backbone: Backbone, optimizer: str) -> None:
    made = make_optimizer(config(weight_decay=0.3, optimizer=optimizer), backbone)
    for parameter in backbone.parameters():
        assert settings(made, parameter)[1] == (0.3 if parameter.ndim > 1 else 0.0)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_frozen_parameters_are_not_in_the_optimizer(backbone: Backbone, depth: int) -> None:
    freeze(backbone, depth)
    made = make_optimizer(config(layer_decay=0.5, learning_rate=0.4), backbone)
    held = {id(p) for group in made.param_groups for p in group["params"]}
    assert held == {id(p) for p in backbone.parameters() if p.requires_grad}
    if depth == 1:  # the rates of what is left do not depend on what is frozen
        assert settings(made, backbone.blocks[1][0].weight)[0] == pytest.approx(0.2)  # type: ignore[index]


def factors(num_steps: int, **options: object) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(config(**options), optimizer, num_steps)
    used = []
    for _ in range(num_steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return used


def test_cosine_warms_up_to_the_peak_and_falls_towards_zero() -> None:
    used = factors(100, warmup_frac=0.1)
    assert used[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert used[10] == max(used) == 1.0
    assert used[10:] == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 90)) for i in range(90)])
    assert 0 < used[-1] < 1e-3


def test_constant_stays_at_the_peak() -> None:
    assert factors(20, schedule="constant", warmup_frac=0.0) == [1.0] * 20
    assert factors(20, schedule="constant", warmup_frac=0.1)[2:] == [1.0] * 18


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
@pytest.mark.parametrize("warmup_frac", [0.0, 0.5, 0.99])
def test_a_learning_rate_is_never_zero_nor_above_its_peak(num_steps: int, warmup_frac: float) -> None:
    assert all(0 < factor <= 1 for factor in factors(num_steps, warmup_frac=warmup_frac))
