"""Learning rates and weight decay reach the parameters they are meant for."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from trainables.backbones import Backbone
from trainables.catalog import BackboneSpec
from trainables.config import FinetuneConfig
from trainables.freezing import freeze
from trainables.optimization import Anchor, make_optimizer, make_schedule


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


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_each_block_learns_slower_than_the_one_after_it(backbone: Backbone, optimizer: str) -> None:
    options = {"learning_rate": 0.4, "head_learning_rate": 3.0, "layer_decay": 0.5, "optimizer": optimizer}
    made = make_optimizer(config(**options), backbone)
    rates = [settings(made, block[0].weight)[0] for block in backbone.blocks]  # type: ignore[index]
    assert rates == pytest.approx([0.1, 0.2, 0.4])
    assert settings(made, backbone.head.weight)[0] == 3.0  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
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


@pytest.mark.parametrize(("layer_decay", "num"), [(1.0, 4), (0.5, 8)])
def test_equal_settings_are_one_group(backbone: Backbone, layer_decay: float, num: int) -> None:
    """Each group costs a call of its own at every step: two of each learning rate are decayed or spared."""
    made = make_optimizer(config(layer_decay=layer_decay), backbone)
    assert len(made.param_groups) == num
    held = [id(p) for group in made.param_groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, backbone.parameters())), "each parameter once"


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_grouping_changes_no_update(backbone: Backbone, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def updated() -> list[torch.Tensor]:
        copied = copy.deepcopy(backbone)
        made = make_optimizer(config(weight_decay=0.1, optimizer=optimizer), copied)
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            for parameter in copied.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            made.step()
        return [parameter.detach() for parameter in copied.parameters()]

    merged = updated()
    monkeypatch.setattr("trainables.optimization._merged", lambda groups: groups)
    assert all(map(torch.equal, merged, updated()))


def test_in_a_window_the_last_tuned_block_has_the_learning_rate(backbone: Backbone) -> None:
    freeze(backbone, 0, 2)
    made = make_optimizer(config(layer_decay=0.5, learning_rate=0.4), backbone)
    rates = [settings(made, backbone.blocks[i][0].weight)[0] for i in (0, 1)]  # type: ignore[index]
    assert rates == pytest.approx([0.2, 0.4])
    assert {id(p) for p in backbone.blocks[2].parameters()}.isdisjoint(
        id(p) for group in made.param_groups for p in group["params"]
    )


class Bare(nn.Module):
    """What a transformer holds besides layers: position embeddings and a layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 4, 3))
        self.gamma = nn.Parameter(torch.ones(3, 1, 1))
        self.attention = nn.MultiheadAttention(4, 2)


def test_position_embeddings_and_layer_scales_are_not_decayed_but_matrices_are(small: Backbone) -> None:
    bare = Bare()
    made = make_optimizer(config(weight_decay=0.3), Backbone(small.spec, [bare], nn.Linear(3, 2), small.preprocessing))
    assert settings(made, bare.position)[1] == settings(made, bare.gamma)[1] == 0.0
    assert settings(made, bare.attention.in_proj_weight)[1] == settings(made, bare.attention.out_proj.weight)[1] == 0.3


def test_adam_adds_its_decay_to_the_gradient_and_adamw_does_not() -> None:
    steps = {}
    for name in ("adam", "adamw"):
        layer = nn.Linear(1, 1, bias=False)
        layer.weight.detach().fill_(2.0)
        backbone = Backbone(_spec(), [layer], nn.Linear(1, 1), None)  # type: ignore[arg-type]
        made = make_optimizer(config(weight_decay=0.5, learning_rate=0.1, optimizer=name), backbone)
        layer.weight.grad = torch.full((1, 1), 1e-3)
        made.step()
        steps[name] = 2.0 - float(layer.weight.detach())
    # Adam's first step is the learning rate whatever the gradient; AdamW's has lr x decay x weight on top.
    assert steps["adam"] == pytest.approx(0.1, rel=1e-3)
    assert steps["adamw"] == pytest.approx(0.1 + 0.1 * 0.5 * 2.0, rel=1e-3)


class TestAnchor:
    """L2-SP: the gradient of strength / 2 times the squared distance from the start."""

    def test_it_is_the_gradient_of_the_penalty(self, backbone: Backbone) -> None:
        freeze(backbone, 1)
        start = [p.detach().clone() for p in backbone.blocks[1:].parameters()]
        anchor = Anchor(backbone, 0.3)
        tuned = list(backbone.blocks[1:].parameters())
        for p in tuned:
            p.detach().add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
        penalty = 0.15 * sum(((p - s) ** 2).sum() for p, s in zip(tuned, start, strict=True))
        expected = torch.autograd.grad(penalty, tuned)  # type: ignore[arg-type]
        for p in backbone.parameters():
            p.grad = torch.ones_like(p)
        anchor.add_gradient()
        for p, gradient in zip(tuned, expected, strict=True):
            assert torch.allclose(p.grad, 1 + gradient, atol=1e-6)  # type: ignore[arg-type]
        untouched = [*backbone.blocks[0].parameters(), *backbone.head.parameters()]
        assert all((p.grad == 1).all() for p in untouched)

    def test_blocks_are_pulled_to_the_start_in_place_of_zero(self, backbone: Backbone) -> None:
        made = make_optimizer(config(weight_decay=0.3, stay_near=0.1), backbone)
        assert settings(made, backbone.blocks[0][0].weight)[1] == 0.0  # type: ignore[index]
        assert settings(made, backbone.head.weight)[1] == 0.3  # type: ignore[arg-type]

    def test_none_costs_nothing(self, backbone: Backbone) -> None:
        anchor = Anchor(backbone, 0.0)
        for p in backbone.parameters():
            p.grad = torch.ones_like(p)
        anchor.add_gradient()
        assert anchor._start == []
        assert all((p.grad == 1).all() for p in backbone.parameters())


def _spec() -> BackboneSpec:
    return BackboneSpec(source="mine", architecture="one_layer", weights=None)


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


def test_step_divides_by_ten_twice() -> None:
    used = factors(100, schedule="step", warmup_frac=0.1)
    assert used[10:50] == [1.0] * 40
    assert used[50:75] == pytest.approx([0.1] * 25)
    assert used[75:] == pytest.approx([0.01] * 25)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
@pytest.mark.parametrize("warmup_frac", [0.0, 0.5, 0.99])
def test_a_learning_rate_is_never_zero_nor_above_its_peak(num_steps: int, warmup_frac: float) -> None:
    assert all(0 < factor <= 1 for factor in factors(num_steps, warmup_frac=warmup_frac))
