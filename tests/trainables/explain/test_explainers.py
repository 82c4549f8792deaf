"""Every explainer finds what a planted network reads, and holds what its theory promises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hf_checkpoints import SOUNDS, TEXTS
from planted import (
    CPU,
    KEYWORD,
    corner_image,
    corner_network,
    keyword_network,
    loud_network,
    question,
    red_image,
    red_network,
    sound,
    text,
)
from torch import Tensor
from torch.testing import assert_close

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.explain import EXPLAINERS, Network, Question, examine, explainers_for
from trainables.explain.explainers import integrated_gradients, kernel_shap, lime
from trainables.objective import make_objective

PLANTED = {
    "a corner": (lambda: question(corner_network(), corner_image()), 0),
    "red": (lambda: question(red_network(), red_image()), 2 * 7 + 4),
    "a keyword": (lambda: question(keyword_network(), text(9, 10, 11, KEYWORD, 12, 9)), 3),
    "a loud stretch": (lambda: question(loud_network(5), sound(5)), 5),
}


def game(num: int, value: Callable[[Tensor], Tensor]) -> Any:
    """A question whose shares are any function of which pieces are there, bool (n, num)."""
    return SimpleNamespace(pieces=SimpleNamespace(num=num), seed=1, shares=value)


def shapley(num: int, value: Callable[[Tensor], Tensor]) -> Tensor:
    """From the definition, over all orders' sets."""
    result = torch.zeros(num)
    for piece in range(num):
        others = [one for one in range(num) if one != piece]
        for size in range(num):
            share = math.factorial(size) * math.factorial(num - size - 1) / math.factorial(num)
            for chosen in itertools.combinations(others, size):
                sets = torch.zeros(2, num, dtype=torch.bool)
                sets[:, list(chosen)] = True
                sets[1, piece] = True
                without, with_it = value(sets)
                result[piece] += share * float(with_it - without)
    return result


@pytest.mark.parametrize("planted", PLANTED)
def test_what_the_network_reads_is_found(planted: str) -> None:
    make, right = PLANTED[planted]
    asked = make()
    explainers = explainers_for(asked)
    assert set(explainers) == set(EXPLAINERS) - (set() if asked.pieces.sample[0].ndim == 4 else {"grad_cam"})
    examined = examine(asked, asked.network, explainers)
    for name, attribution in examined.attributions.items():
        values = attribution.values
        assert values.shape == (asked.pieces.num,), name
        assert int(values.argmax()) == right, name
        assert values[right] > 3 * values[torch.arange(len(values)) != right].abs().max(), name
        assert examined.faithfulness(name) > 0.7, name
        assert examined.areas[name].deletion < examined.random.deletion < examined.areas[name].insertion


def test_shapley_values_of_an_additive_game_are_its_terms() -> None:
    terms = torch.tensor([0.3, -0.2, 0.1, 0.05, 0.0, 0.15])
    found = kernel_shap(game(6, lambda present: present.float() @ terms + 0.2)).values
    assert_close(found, terms, atol=1e-3, rtol=0)


def test_shapley_values_of_a_game_with_interactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.explain.explainers.num_drawn", lambda _: 2000)

    def value(present: Tensor) -> Tensor:
        there = present.float()
        return 0.4 * there[:, 0] * there[:, 1] + 0.3 * there[:, 2] * there[:, 3] * there[:, 0] + 0.1 * there[:, 3]

    found, exact = kernel_shap(game(4, value)).values, shapley(4, value)
    assert_close(found.sum(), exact.sum(), atol=1e-3, rtol=0)
    assert_close(found, exact, atol=0.03, rtol=0)  # three standard errors of 2,000 draws


def test_lime_fits_what_is_linear_and_says_so_where_nothing_is() -> None:
    terms = torch.tensor([0.3, -0.2, 0.1, 0.05, 0.0, 0.15])

    def noise(present: Tensor) -> Tensor:
        return torch.rand(len(present), generator=torch.Generator().manual_seed(0))

    def r2(found: Any) -> float:
        return 1 - found.fit.squared_error / found.fit.squared_deviation

    linear = lime(game(6, lambda present: present.float() @ terms))
    assert_close(linear.values, terms, atol=0.05, rtol=0)
    assert linear.values.argsort().tolist() == terms.argsort().tolist()
    assert r2(linear) > 0.95
    assert r2(lime(game(20, noise))) < 0.1


def test_integrated_gradients_are_complete() -> None:
    """They add up to the difference between the whole sample and none of it (axiom of the paper)."""
    backbone = build(lookup("timm/test_resnet@random"))
    objective = make_objective("classification", 1000, torch.arange(1000), torch.arange(1000))
    sample = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    asked = question(Network(backbone, "fp32", CPU), sample, objective)
    assert_complete(asked, tolerance=0.02)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder: Path = tmp_path_factory.mktemp("bert")
    TEXTS["bert"].save(folder)
    backbone = build(lookup(f"hf/{folder}"))
    with torch.no_grad():
        for parameter in backbone.head.parameters():
            parameter.mul_(50)  # so that words make a difference
    return backbone


def test_they_are_complete_over_the_embeddings_of_a_text(bert: Backbone) -> None:
    objective = make_objective("classification", 7, torch.arange(7), torch.arange(7))
    tokenizer: Any = bert.preprocessing.tokenizer  # type: ignore[union-attr]
    ((ids, types),) = tokenizer.encode(["word1 word2 word3 word30"], None, 16)
    sample = (torch.tensor([[*ids, 1, 1]]), torch.tensor([[1] * len(ids) + [0, 0]]), torch.tensor([[*types, 0, 0]]))
    asked = question(Network(bert, "fp32", CPU), sample, objective)
    assert asked.pieces.num == 4
    assert tokenizer.spelled(ids[1:3]) == ["word1", "word2"]
    assert_complete(asked, tolerance=0.02)


def test_they_are_complete_over_a_waveform_whose_volume_the_network_takes_out(tmp_path: Path) -> None:
    """From silence the answer jumps at once: along the waveform itself the sum has no more than the sign, if that."""
    SOUNDS["hubert"].save(tmp_path)
    backbone = build(lookup(f"hf/{tmp_path}"))
    with torch.no_grad():
        for parameter in backbone.head.parameters():
            parameter.mul_(20)
    objective = make_objective("classification", 7, torch.arange(7), torch.arange(7))
    waveform = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    sample = (waveform, torch.ones(1, 4000, dtype=torch.int64))
    assert_complete(question(Network(backbone, "fp32", CPU), sample, objective), tolerance=0.02)


def assert_complete(asked: Question, tolerance: float) -> None:
    none, whole = asked.shares(torch.tensor([[False] * asked.pieces.num, [True] * asked.pieces.num]))
    assert abs(whole - none) > 0.02 * whole
    assert_close(integrated_gradients(asked).values.sum(), whole - none, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_same_question_has_the_same_answer_and_no_global_generator_moves(name: str) -> None:
    asked = question(red_network(), red_image())
    before = torch.random.get_rng_state()
    one, other = (EXPLAINERS[name](asked).values for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "has_maps"),
    [("timm/test_resnet@random", True), ("timm/test_convnext@random", True), ("timm/test_vit@random", False)],
)
def test_grad_cam_is_for_networks_with_feature_maps(name: str, has_maps: bool) -> None:
    backbone = build(lookup(name))
    asked = question(
        Network(backbone, "fp32", CPU), torch.zeros(1, 3, 32 if has_maps else 160, 32 if has_maps else 160)
    )
    assert ("grad_cam" in explainers_for(asked)) == has_maps


def test_a_regression_is_explained_by_how_far_its_answer_moves() -> None:
    targets = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    objective = make_objective("regression", 2, targets, targets)
    asked = question(corner_network(), corner_image(), objective)
    assert asked.whole == 1
    assert int(lime(asked).values.argmax()) == 0


@pytest.mark.parametrize(("bias", "says_yes"), [([-5.5, -20.0], True), ([-30.0, -20.0], False)])
def test_of_several_labels_the_one_nearest_to_yes_is_explained(bias: list[float], says_yes: bool) -> None:
    objective = make_objective("multilabel", 2, torch.eye(2), torch.eye(2))
    network = corner_network()
    with torch.no_grad():
        network.backbone.head.weight.copy_(torch.tensor([[4.0], [4.0]]))
        network.backbone.head.bias.copy_(torch.tensor(bias))
    asked = question(network, corner_image(), objective)
    assert asked.answer.index == (0 if says_yes else 1)
    assert asked.answer.sign == (1 if says_yes else -1)
    assert asked.whole > 0.5
    # Without the corner it is less of a yes, and more of a no.
    found = lime(asked).values
    assert int(found.abs().argmax()) == 0
    assert (found[0] > 0) == says_yes
