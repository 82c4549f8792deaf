"""The proof that nothing frozen moved misses nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.errors import InvalidConfig
from trainables.freezing import (
    block_digests,
    copy_tuned,
    first_tuned,
    freeze,
    frozen_checksum,
    frozen_digest,
    moving_state,
)


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


def test_what_has_two_names_in_a_block_moves_once(small: Backbone) -> None:
    tied = nn.Linear(3, 3)
    backbone = Backbone(small.spec, [nn.Sequential(tied, tied)], nn.Linear(3, 3), small.preprocessing)
    assert list(moving_state(backbone)) == ["blocks.0.0.weight", "blocks.0.0.bias", "head.weight", "head.bias"]


class TestChecksum:
    def test_it_depends_on_every_frozen_tensor_and_on_no_other(self, small: Backbone) -> None:
        backbone = copy.deepcopy(small)
        freeze(backbone, 6)
        before = frozen_checksum(backbone)
        for tensor in [*backbone.blocks[:6].parameters(), *backbone.blocks[:6].buffers()]:
            value = tensor.detach().view(-1)[:1].clone()
            tensor.detach().view(-1)[0] += 1
            assert frozen_checksum(backbone) != before
            tensor.detach().view(-1)[:1] = value
        next(backbone.blocks[6].parameters()).detach().add_(1)
        assert frozen_checksum(backbone) == before

    def test_it_takes_every_dtype(self, small: Backbone) -> None:
        backbone = copy.deepcopy(small)
        for name, tensor in {
            "table_bf16": torch.ones(3, dtype=torch.bfloat16),
            "table_bool": torch.tensor(True),
            "table_complex": torch.ones(2, dtype=torch.complex64),
            "table_f64": torch.ones(2, 2, dtype=torch.float64).T,
        }.items():
            backbone.blocks[0].register_buffer(name, tensor)
        freeze(backbone, 1)
        before = frozen_checksum(backbone)
        backbone.blocks[0].get_buffer("table_complex")[1] = 2j
        assert frozen_checksum(backbone) != before


class TestDigests:
    def test_they_are_remembered_until_a_tensor_is_written_to_or_replaced(self, small: Backbone) -> None:
        backbone = copy.deepcopy(small)
        before = block_digests(backbone)
        assert block_digests(backbone) is before
        block = backbone.blocks[2]
        first = next(block.parameters())
        with torch.no_grad():
            first.add_(1)
        written = block_digests(backbone)
        assert [a == b for a, b in zip(before, written, strict=True)] == [i != 2 for i in range(14)]
        first.data = first.detach() + 1
        assert block_digests(backbone)[2] != written[2]

    def test_a_trial_stands_on_what_they_say(self, small: Backbone) -> None:
        backbone = copy.deepcopy(small)
        freeze(backbone, 6)
        assert frozen_digest(backbone, block_digests(small)) == frozen_digest(backbone)


class TestCopy:
    @pytest.mark.parametrize("window", [(0, None), (6, None), (14, None), (3, 5)])
    def test_tuned_blocks_are_its_own_and_frozen_ones_shared(
        self, small: Backbone, window: tuple[int, int | None]
    ) -> None:
        pretrained = copy.deepcopy(small)
        copied = copy_tuned(pretrained, *window)
        for index, (block, origin) in enumerate(zip(copied.blocks, pretrained.blocks, strict=True)):
            assert block is not origin
            for one, other in zip(block.state_dict().values(), origin.state_dict().values(), strict=True):
                assert torch.equal(one, other)
                assert (one.data_ptr() == other.data_ptr()) == (index in copied.frozen)
        assert all(p.requires_grad for p in pretrained.parameters())

    def test_training_one_leaves_the_pretrained_as_it_is(self, small: Backbone) -> None:
        pretrained = copy.deepcopy(small).to(memory_format=torch.channels_last)
        before = {name: t.clone() for name, t in pretrained.state_dict().items()}
        copied = copy_tuned(pretrained, 6).train()
        copied(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer = torch.optim.SGD([p for p in copied.parameters() if p.requires_grad], lr=0.1)
        optimizer.step()
        assert all(torch.equal(t, before[name]) for name, t in pretrained.state_dict().items())
        assert any(not torch.equal(t, before[name]) for name, t in copied.state_dict().items())
        assert all(p.grad is None for p in pretrained.parameters())


def test_the_first_tuned_block(small: Backbone) -> None:
    assert [first_tuned(copy_tuned(small, depth)) for depth in (0, 6, 14)] == [0, 6, 14]
    assert first_tuned(copy_tuned(small, 3, 5)) == 3
