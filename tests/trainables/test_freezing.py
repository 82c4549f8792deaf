"""The proof that nothing frozen moved misses nothing."""

from __future__ import annotations

import copy

import pytest
import torch

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.errors import InvalidConfig
from trainables.freezing import freeze, frozen_digest, moving_state


def test_the_digest_depends_on_every_frozen_parameter_and_buffer(small: Backbone) -> None:
    backbone = copy.deepcopy(small)
    freeze(backbone, 6)
    blocks = backbone.blocks[:6]
    before, digests = frozen_digest(backbone), set()
    for tensor in [*blocks.parameters(), *blocks.buffers()]:
        tensor.detach().view(-1)[0] += 1
        digests.add(frozen_digest(backbone))
        tensor.detach().view(-1)[0] -= 1
    assert before not in digests
    assert len(digests) == sum(1 for _ in blocks.parameters()) + sum(1 for _ in blocks.buffers())


def test_buffers_that_are_not_saved_count_too() -> None:
    backbone = build(lookup("torchvision/swin_t@random"))
    block = backbone.blocks[0]
    block.register_buffer("table", torch.zeros(2), persistent=False)
    freeze(backbone, 1)
    before = frozen_digest(backbone)
    block.get_buffer("table")[0] = 1
    assert frozen_digest(backbone) != before


def test_nothing_frozen_has_one_digest(small: Backbone) -> None:
    other = copy.deepcopy(small)
    next(other.parameters()).detach().add_(1)
    assert frozen_digest(small) == frozen_digest(other)


def test_a_backbone_can_be_thawed(small: Backbone) -> None:
    backbone = copy.deepcopy(small).train()
    freeze(backbone, 14)
    assert not any(module.training for module in backbone.blocks[3].modules())
    freeze(backbone, 0)
    assert all(p.requires_grad for p in backbone.parameters())
    assert all(module.training for module in backbone.blocks[3].modules())


@pytest.mark.parametrize("depth", [-1, 15])
def test_a_depth_outside_is_refused_and_changes_nothing(small: Backbone, depth: int) -> None:
    backbone = copy.deepcopy(small)
    with pytest.raises(InvalidConfig, match=f"has 14 blocks; got {depth}"):
        freeze(backbone, depth)
    assert backbone.frozen == frozenset()
    assert all(p.requires_grad for p in backbone.parameters())


def test_a_window_tunes_its_blocks_and_the_head_alone(small: Backbone) -> None:
    backbone = copy.deepcopy(small)
    freeze(backbone, 3, 5)
    trainable = {name.split(".")[1] for name, p in backbone.blocks.named_parameters("blocks") if p.requires_grad}
    assert trainable == {"3", "4"}
    assert all(p.requires_grad for p in backbone.head.parameters())
    assert backbone.frozen == frozenset(range(backbone.num_blocks)) - {3, 4}
    backbone.train()
    assert [block.training for block in backbone.blocks[2:6]] == [False, True, True, False]


@pytest.mark.parametrize("window", [(3, 3), (3, 2), (0, 15), (14, 15)])
def test_a_window_outside_is_refused(small: Backbone, window: tuple[int, int]) -> None:
    with pytest.raises(InvalidConfig, match=r"tune_window must end in .* which has 14 blocks"):
        freeze(copy.deepcopy(small), *window)


def test_the_window_to_the_end_is_the_freeze_depth(small: Backbone) -> None:
    a, b = copy.deepcopy(small), copy.deepcopy(small)
    freeze(a, 6)
    freeze(b, 6, 14)
    assert a.frozen == b.frozen
    assert frozen_digest(a) == frozen_digest(b)
    assert moving_state(a).keys() == moving_state(b).keys()
