"""What every backbone promises. A source of backbones subclasses this and names its cases."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.backbones import Backbone, build, replace_head
from trainables.backbones.taps import trim_convolutions
from trainables.catalog import lookup
from trainables.freezing import freeze, frozen_digest
from trainables.preprocessing import ImagePreprocessing, State


@dataclass(frozen=True, kw_only=True)
class Case:
    """A backbone beside the model it was cut from, which is built without this package."""

    backbone: Backbone
    original: nn.Module
    batch: State
    """What the backbone takes, of two samples."""

    original_inputs: dict[str, Tensor] | None = None
    """The same for a model that takes it by keywords and answers with an object with `logits`."""

    def expected(self) -> Tensor:
        """What the original answers."""
        if self.original_inputs is None:
            logits: Tensor = self.original(self.batch)
        else:
            logits = self.original(**self.original_inputs).logits
        return logits


def original_name(name: str) -> str:
    """The name in the original model of a tensor of a backbone."""
    return name.removeprefix("head.") if name.startswith("head.") else name.split(".", 2)[2]


def shake(original: nn.Module, backbone: Backbone) -> None:
    """Move every parameter and norm statistic of both models alike.

    Zeros, ones and layer scales of 1e-6 at initialisation would hide a block that is skipped.
    """
    generator = torch.Generator().manual_seed(7)
    state = original.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator) - 0.5
            state[name] = tensor + (0.2 if tensor.ndim <= 1 else 0.02) * noise
    original.load_state_dict(state)
    backbone.load_state_dict({name: state.get(original_name(name), own) for name, own in backbone.state_dict().items()})


def make_case(name: str, original: nn.Module, side: int) -> Case:
    backbone = build(lookup(name))
    shake(original, backbone)
    trim_convolutions(original)  # which rounds as the backbone does: that it changes no more is in test_taps
    batch = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    return Case(backbone=backbone, original=original.eval(), batch=batch)


def norm_statistics(module: nn.Module) -> list[Tensor]:
    return [
        norm.num_batches_tracked.clone()
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and norm.num_batches_tracked is not None
    ]


class BackboneContract:
    """The claims. `case` is built once per architecture and must be left as it was found."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        raise NotImplementedError("a subclass overrides this fixture, parametrised by architecture")

    @pytest.fixture
    def backbone(self, case: Case) -> Backbone:
        """A copy that a test may change."""
        return copy.deepcopy(case.backbone)

    def test_its_output_equals_the_original_to_the_bit(self, case: Case) -> None:
        with torch.inference_mode():
            expected, composed = case.expected(), case.backbone(case.batch)
        assert torch.isfinite(expected).all()
        assert expected.std() > 0
        assert torch.equal(composed, expected)

    def test_it_is_a_chain_that_can_be_entered_and_left_at_every_boundary(self, case: Case) -> None:
        with torch.inference_mode():
            expected, x = case.backbone.features(case.batch), case.batch
            for index in range(case.backbone.num_blocks):
                x = case.backbone.features(x, index, index + 1)
                first = x if isinstance(x, Tensor) else x[0]
                assert len(first) == 2
        assert isinstance(x, Tensor)
        assert torch.equal(x, expected)

    def test_there_is_something_to_choose_between(self, case: Case) -> None:
        assert case.backbone.num_blocks >= 2

    def test_every_parameter_in_use_is_in_exactly_one_place(self, case: Case) -> None:
        original = copy.deepcopy(case.original)
        replace(case, original=original).expected().sum().backward()
        used = {name for name, p in original.named_parameters() if p.grad is not None}
        held = [original_name(name) for name, _ in case.backbone.named_parameters(remove_duplicate=False)]
        assert len(held) == len(set(held))
        assert used <= set(held)

    def test_every_block_has_parameters(self, case: Case) -> None:
        assert all(any(True for _ in block.parameters()) for block in case.backbone.blocks)

    def test_freezing_deeper_trains_strictly_less(self, backbone: Backbone) -> None:
        trainable = []
        for depth in range(backbone.num_blocks + 1):
            freeze(backbone, depth)
            trainable.append(sum(p.numel() for p in backbone.parameters() if p.requires_grad))
        assert trainable == sorted(set(trainable), reverse=True)
        assert trainable[0] == sum(p.numel() for p in backbone.parameters())
        assert trainable[-1] == sum(p.numel() for p in backbone.head.parameters()) > 0

    def test_frozen_blocks_do_not_move_in_train_mode(self, backbone: Backbone, case: Case) -> None:
        depth = backbone.num_blocks // 2
        freeze(backbone, depth)
        before, frozen = frozen_digest(backbone), backbone.blocks[:depth]
        tuned_before = norm_statistics(backbone.blocks[depth:])
        for mode in (True, False, True):
            backbone.train(mode)
            assert not any(module.training for block in frozen for module in block.modules())
            assert all(block.training is mode for block in backbone.blocks[depth:])
        backbone(case.batch).sum().backward()
        assert frozen_digest(backbone) == before
        assert all(p.grad is None for p in frozen.parameters())
        assert all(a < b for a, b in zip(tuned_before, norm_statistics(backbone.blocks[depth:]), strict=True))

    def test_a_probe_computes_its_features_in_eval_mode(self, backbone: Backbone, case: Case) -> None:
        freeze(backbone, backbone.num_blocks)
        with torch.inference_mode():
            expected = case.backbone.features(case.batch)
            features = backbone.train().features(case.batch)
        assert torch.equal(features, expected)

    def test_the_digest_sees_any_frozen_tensor(self, backbone: Backbone) -> None:
        depth = backbone.num_blocks // 2
        freeze(backbone, depth)
        tensors = [*backbone.blocks[:depth].parameters(), *backbone.blocks[:depth].buffers()]
        before = frozen_digest(backbone)
        for index in torch.randperm(len(tensors), generator=torch.Generator().manual_seed(0))[:3]:
            flat = tensors[index].detach().reshape(-1)
            kept = flat[-1].clone()
            flat[-1] = ~flat[-1] if flat.dtype == torch.bool else flat[-1] + 1
            assert frozen_digest(backbone) != before
            flat[-1] = kept
        assert frozen_digest(backbone) == before
        next(backbone.blocks[depth].parameters()).detach().add_(1)
        next(backbone.head.parameters()).detach().add_(1)
        assert frozen_digest(backbone) == before

    def test_the_head_is_replaced_and_nothing_else(self, backbone: Backbone, case: Case) -> None:
        heads = []
        for seed in (3, 3, 4):
            torch.rand(5)  # whatever is drawn before
            replace_head(backbone, 7, seed)
            heads.append(torch.cat([p.detach().flatten() for p in backbone.head.parameters()]))
        assert torch.equal(heads[0], heads[1])
        assert not torch.equal(heads[0], heads[2])
        with torch.inference_mode():
            assert backbone(case.batch).shape == (2, 7)
            assert torch.equal(backbone.features(case.batch), case.backbone.features(case.batch))

    def test_a_copy_is_equal_and_independent(self, backbone: Backbone, case: Case) -> None:
        with torch.inference_mode():
            assert torch.equal(backbone(case.batch), case.backbone(case.batch))
        addresses = {p.data_ptr() for p in case.backbone.parameters()}
        assert addresses.isdisjoint(p.data_ptr() for p in backbone.parameters())
        assert sum(1 for _ in backbone.parameters()) == sum(1 for _ in case.backbone.parameters())

    def test_its_state_survives(self, backbone: Backbone, case: Case) -> None:
        state = case.backbone.state_dict()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.zero_()
        backbone.load_state_dict(state, strict=True)
        with torch.inference_mode():
            assert torch.equal(backbone(case.batch), case.backbone(case.batch))

    def test_its_preprocessing_is_whole(self, case: Case) -> None:
        preprocessing = case.backbone.preprocessing
        if not isinstance(preprocessing, ImagePreprocessing):
            return
        assert preprocessing.input_size > 0
        assert 0 < preprocessing.crop_frac <= 1
        assert preprocessing.interpolation in ("bilinear", "bicubic")
        assert len(preprocessing.mean) == len(preprocessing.std) == 3

    def test_it_is_built_in_eval_mode(self, case: Case) -> None:
        assert not any(module.training for module in case.backbone.modules())
