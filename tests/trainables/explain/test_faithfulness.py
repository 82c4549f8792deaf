"""Explanations are told from noise: areas of orders, and networks that have learned nothing."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import CPU, corner_image, corner_network, question
from scipy.stats import spearmanr
from torch import Tensor
from torch.testing import assert_close

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.explain import EXPLAINERS, Network, areas, examine, random_areas, randomised
from trainables.explain.examination import rank_correlation


def additive(*terms: float) -> Any:
    """Of whose answer each piece carries a share; half of it is there without any."""
    weights = torch.tensor(terms)
    shares = lambda present: 0.4 + present.float() @ weights  # noqa: E731
    whole = 0.4 + float(weights.sum())
    return SimpleNamespace(pieces=SimpleNamespace(num=len(terms)), seed=0, shares=shares, whole=whole)


def test_areas_of_an_additive_answer_by_hand() -> None:
    # 0.4 without any piece, 0.8 with all. Deleting by size: 0.8, 0.5, 0.4, 0.4; inserting: 0.4, 0.7, 0.8, 0.8.
    found = areas(additive(0.1, 0.3, 0.0), torch.tensor([2.0, 3.0, 1.0]))
    assert found.deletion == pytest.approx((0.8 / 2 + 0.5 + 0.4 + 0.4 / 2) / 3 / 0.8)
    assert found.insertion == pytest.approx((0.4 / 2 + 0.7 + 0.8 + 0.8 / 2) / 3 / 0.8)


def test_many_pieces_go_in_16_steps() -> None:
    asked, seen = additive(*[0.4 / 49] * 49), []
    shares = asked.shares
    asked.shares = lambda present: (seen.append(present), shares(present))[1]
    found = areas(asked, torch.arange(49.0))
    assert len(seen[0]) == 34
    # Of equal pieces no order is better: both areas are the trapezoid from 0.5 to 1.
    assert_close(torch.tensor([found.deletion, found.insertion]), torch.tensor([0.75, 0.75]))


def test_random_orders_and_their_reverses_have_the_same_areas() -> None:
    found = random_areas(additive(0.1, 0.2, 0.05, 0.05))
    assert found.deletion == found.insertion
    assert found.insertion == pytest.approx((0.5 + 1) / 2, abs=0.15)


def test_no_order_beats_that_of_the_shares() -> None:
    asked = additive(0.2, 0.1, 0.06, 0.04)
    best = areas(asked, torch.tensor([4.0, 3.0, 2.0, 1.0]))
    for seed in range(10):
        other = areas(asked, torch.rand(4, generator=torch.Generator().manual_seed(seed)))
        assert other.insertion - other.deletion <= best.insertion - best.deletion + 1e-9


@pytest.mark.parametrize("name", ["lime", "kernel_shap", "integrated_gradients"])
def test_explanations_of_a_randomised_network_do_not_beat_a_random_order(name: str) -> None:
    """The planted network reads the corner: what its randomised copies point at must say nothing of that."""
    network, explain = corner_network(), EXPLAINERS[name]
    levels, likenesses = [], []
    for seed in range(8):
        asked = question(network, corner_image(seed))
        of_control = explain(replace(asked, network=randomised(network, [], seed))).values
        found = areas(asked, of_control)
        levels.append(found.insertion - found.deletion)
        likenesses.append(rank_correlation(explain(asked).values, of_control))
    assert np.mean(levels) < 2 * np.std(levels, ddof=1) / np.sqrt(len(levels))
    assert abs(np.mean(likenesses)) < 0.2


def test_a_network_is_like_itself_and_better_than_a_random_order() -> None:
    asked = question(corner_network(), corner_image())
    examined = examine(asked, asked.network, {"integrated_gradients": EXPLAINERS["integrated_gradients"]})
    assert examined.similarity["integrated_gradients"] == pytest.approx(1)
    assert examined.faithfulness("integrated_gradients") > 0.7


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=8))
def test_the_likeness_is_the_rank_correlation_of_scipy(pairs: list[tuple[int, int]]) -> None:
    one, other = torch.tensor(pairs, dtype=torch.float32).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scipy, where all values are equal
        expected = spearmanr(one, other).statistic
    assert rank_correlation(one, other) == pytest.approx(expected, nan_ok=True, abs=1e-9)


class TestRandomised:
    @pytest.fixture
    def network(self) -> Network:
        return Network(build(lookup("timm/test_resnet@random")), "fp32", CPU)

    @pytest.fixture
    def batches(self) -> list[Tensor]:
        return [torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]

    def test_nothing_learned_is_left_and_the_network_is_untouched(
        self, network: Network, batches: list[Tensor]
    ) -> None:
        before = {name: tensor.clone() for name, tensor in network.backbone.state_dict().items()}
        state = torch.random.get_rng_state()
        control = randomised(network, batches, seed=0)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.backbone.state_dict().items())
        for (name, own), (_, drawn) in zip(
            network.backbone.named_parameters(), control.backbone.named_parameters(), strict=True
        ):
            assert torch.equal(own, drawn) == (own.std() == 0), name
            assert_close(drawn.std(), own.std(), rtol=0.5, atol=1e-6)
        assert not control.backbone.training
        assert all(not module.training for module in control.backbone.modules())

    def test_it_computes_at_its_usual_scale(self, network: Network, batches: list[Tensor]) -> None:
        control = randomised(network, batches, seed=0)
        with torch.no_grad():
            own, drawn = (one.backbone.features(torch.cat(batches)).std() for one in (network, control))
        assert 0.1 < float(drawn / own) < 10

    def test_a_seed_decides(self, network: Network, batches: list[Tensor]) -> None:
        one, same, other = (randomised(network, batches, seed).backbone.state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)
