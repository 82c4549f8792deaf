"""Stacked updates are torch's own, member by member."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from trainables.backbones import Backbone, replace_head
from trainables.catalog import lookup
from trainables.config import FinetuneConfig
from trainables.optimization import make_optimizer, make_schedule
from trainables.preprocessing import ImagePreprocessing
from trainables.stacked import Hyperparameters, StackedHead, StackedOptimizer, dropouts, stack

NUM_STEPS = 40
SETTINGS: list[dict[str, Any]] = [
    {"head_learning_rate": 1e-2, "weight_decay": 0.1, "schedule": "cosine"},
    {"head_learning_rate": 3e-1, "weight_decay": 0.0, "schedule": "step", "warmup_frac": 0.0},
    {"head_learning_rate": 1e-4, "weight_decay": 3.0, "schedule": "constant", "warmup_frac": 0.5},
    {"head_learning_rate": 0.0, "weight_decay": 0.1},
]


def backbone(head: nn.Module) -> Backbone:
    preprocessing = ImagePreprocessing(
        input_size=16, mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1), interpolation="bilinear", crop_frac=1.0
    )
    return Backbone(lookup("timm/resnet18@random"), [nn.Identity()], head, preprocessing)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_member_is_updated_as_its_own_optimizer_would(name: Literal["adamw", "adam", "sgd"]) -> None:
    """Matrices are decayed, what has one dimension is not; gradients span many orders of magnitude."""
    shared = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    generator = torch.Generator().manual_seed(0)
    draws = [
        [
            torch.randn(p.shape, generator=generator) * 10.0 ** float(torch.randint(-9, 2, (), generator=generator))
            for p in shared.parameters()
        ]
        for _ in range(NUM_STEPS * len(SETTINGS))
    ]
    members, expected, starts = [], [], []
    for index, settings in enumerate(SETTINGS):
        config = FinetuneConfig(backbone="any", optimizer=name, seed=index, **settings)
        alone = backbone(shared)
        replace_head(alone, 3, seed=index)
        starts.append({key: p.detach().clone() for key, p in alone.head.named_parameters()})
        optimizer = make_optimizer(config, alone)
        schedule = make_schedule(config, optimizer, NUM_STEPS)
        members.append(Hyperparameters.of(alone.head, optimizer, schedule, NUM_STEPS))
        for step in range(NUM_STEPS):
            for parameter, gradient in zip(alone.head.parameters(), draws[step * len(SETTINGS) + index], strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
            schedule.step()
        expected.append({key: p.detach().clone() for key, p in alone.head.named_parameters()})
    stacked = stack(starts)
    optimizer = StackedOptimizer(name, members, stacked)
    for step in range(NUM_STEPS):
        rows = draws[step * len(SETTINGS) : (step + 1) * len(SETTINGS)]
        optimizer.step(stack([dict(zip(stacked, row, strict=True)) for row in rows]))
    for index, (member, start) in enumerate(zip(expected, starts, strict=True)):
        for key, tensor in member.items():
            assert torch.allclose(stacked[key][index], tensor, rtol=1e-5, atol=1e-6), (key, index)
            moved = float((tensor - start[key]).abs().max())
            assert (moved > 1e-6) == bool(SETTINGS[index]["head_learning_rate"]), "the test shows nothing"


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_what_is_not_a_number_stays_with_its_member(name: Literal["adamw", "adam", "sgd"]) -> None:
    config = FinetuneConfig(backbone="any", optimizer=name)
    alone = backbone(nn.Linear(4, 3))
    optimizer = make_optimizer(config, alone)
    member = Hyperparameters.of(alone.head, optimizer, make_schedule(config, optimizer, 2), 2)
    stacked = stack([dict(alone.head.named_parameters())] * 3)
    update = StackedOptimizer(name, [member] * 3, stacked)
    for _ in range(2):
        gradients = {key: torch.ones_like(tensor) for key, tensor in stacked.items()}
        gradients["weight"][1] = math.nan
        update.step(gradients)
    assert stacked["weight"][1].isnan().all()
    assert stacked["weight"][[0, 2]].isfinite().all()
    assert stacked["bias"].isfinite().all()


HEADS = {
    "linear": lambda: nn.Linear(6, 3),
    "norm": lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)),
    "layers": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)), nn.Dropout(0.5, inplace=True), nn.Conv2d(6, 3, 1), nn.Flatten()
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_gradients_and_losses_are_those_of_each_head_alone(name: str) -> None:
    torch.manual_seed(0)
    heads = [HEADS[name]() for _ in range(3)]
    features, targets = torch.randn(3, 8, 6), torch.randint(3, (3, 8))
    expected, masks = [], []
    for seed, (head, x, y) in enumerate(zip(heads, features, targets, strict=True)):
        torch.manual_seed(seed)
        loss = cross_entropy(head(x.clone()), y)
        expected.append((loss.detach(), torch.autograd.grad(loss, list(head.parameters()))))
        draws = dropouts(head, x)
        torch.manual_seed(seed)
        masks.append([draw() for draw in draws])
    assert len(masks[0]) == sum(isinstance(module, nn.Dropout) for module in heads[0].modules())
    stacked = stack([dict(head.named_parameters()) for head in heads])
    gradients, losses = StackedHead(heads[0], cross_entropy).gradients(
        stacked, features, targets, [torch.stack(drawn) for drawn in zip(*masks, strict=True)]
    )
    for index, (loss, alone) in enumerate(expected):
        assert torch.allclose(losses[index], loss, rtol=1e-6)
        for key, gradient in zip(stacked, alone, strict=True):
            assert torch.allclose(gradients[key][index], gradient, rtol=1e-5, atol=1e-7)


class Twice(nn.Module):
    """Calls one dropout twice, as RoBERTa's head does."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.dense, self.out = nn.Dropout(0.5), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.drop(torch.tanh(self.dense(self.drop(x)))))
        return outputs


def test_a_dropout_that_is_called_twice_draws_twice() -> None:
    torch.manual_seed(0)
    head, x, y = Twice(), torch.randn(8, 6), torch.randint(3, (8,))
    state = torch.get_rng_state()
    expected = cross_entropy(head(x), y)
    draws = dropouts(head, x)
    torch.set_rng_state(state)
    masks = [draw().unsqueeze(0) for draw in draws]
    assert [mask.shape for mask in masks] == [(1, 8, 6), (1, 8, 5)]
    stacked = stack([dict(head.named_parameters())])
    _, losses = StackedHead(head, cross_entropy).gradients(stacked, x[None], y[None], masks)
    assert torch.allclose(losses[0], expected)
    wrong = cross_entropy(functional_call(head.eval(), dict(head.named_parameters()), (x,)), y)
    assert not torch.allclose(losses[0], wrong)


def test_looking_for_dropouts_draws_nothing_and_leaves_features_alone() -> None:
    head, x = nn.Sequential(nn.Dropout(0.5, inplace=True), nn.Linear(6, 3)).eval(), torch.ones(4, 6)
    state = torch.get_rng_state()
    assert len(dropouts(head, x)) == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, torch.ones(4, 6))
    assert not head.training
    assert dropouts(nn.Sequential(nn.Dropout(0.0), nn.Linear(6, 3)), x) == []
