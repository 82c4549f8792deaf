"""Every family of transformers keeps the contract, loaded from a folder as transformers saves it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from backbone_contract import BackboneContract, Case
from hf_checkpoints import IMAGES, SIDE, SOUNDS, TEXTS, EncoderWithMean, MeanThenProjection
from torch import Tensor

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.freezing import freeze

FAST = {"vit", "bert", "wav2vec2-layer-norm"}


def families(cases: dict[str, Any]) -> list[Any]:
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in cases]


def token_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Two texts of 9 and 5 tokens; the second is padded with 1."""
    ids = torch.randint(4, 44, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    types = torch.tensor([[0] * 4 + [1] * 5, [0] * 9])
    return ids.masked_fill(mask == 0, 1), mask, types


def wave_batch() -> tuple[Tensor, Tensor]:
    """Two sounds of 640 and 400 samples."""
    mask = torch.tensor([[1] * 640, [1] * 400 + [0] * 240])
    return torch.randn(2, 640, generator=torch.Generator().manual_seed(1)) * mask, mask


class TestImages(BackboneContract):
    @pytest.fixture(scope="class", params=families(IMAGES))
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
        folder = tmp_path_factory.mktemp(request.param)
        original = IMAGES[request.param].save(folder)
        images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        backbone = build(lookup(f"hf/{folder}"))
        return Case(backbone=backbone, original=original, batch=images, original_inputs={"pixel_values": images})


class TestTexts(BackboneContract):
    @pytest.fixture(scope="class", params=families(TEXTS))
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
        folder = tmp_path_factory.mktemp(request.param)
        tiny = TEXTS[request.param]
        untyped = {"DistilBert", "GPT2", "ModernBert", "MPNet"}
        one_type = {"type_vocab_size": 2} if tiny.name in ("Roberta", "XLMRoberta", "Camembert", "Deberta") else {}
        original = tiny.save(folder, **one_type)
        backbone = build(lookup(f"hf/{folder}"))
        ids, mask, types = token_batch()
        if tiny.name == "T5":
            original = EncoderWithMean(original, backbone.head.get_submodule("classifier"))
            return Case(backbone=backbone, original=original, batch=(ids, mask, types))
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        if tiny.name in untyped:
            del inputs["token_type_ids"]
        return Case(backbone=backbone, original=original, batch=(ids, mask, types), original_inputs=inputs)

    def test_padding_changes_no_features(self, case: Case) -> None:
        assert isinstance(case.batch, tuple)
        with torch.inference_mode():
            padded = case.backbone.features(case.batch)
            alone = case.backbone.features(tuple(part[1:, :5] for part in case.batch))
        assert isinstance(padded, Tensor)
        torch.testing.assert_close(padded[1:], alone, rtol=1e-4, atol=1e-5)

    def test_hidden_states_and_mask_travel_and_nothing_else(self, case: Case) -> None:
        with torch.inference_mode():
            state = case.backbone.features(case.batch, 0, case.backbone.num_blocks - 1)
        hidden, mask = state
        assert hidden.shape == (2, 9, 32)
        assert torch.equal(mask, case.batch[1])


class TestSounds(BackboneContract):
    @pytest.fixture(scope="class", params=families(SOUNDS))
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
        folder = tmp_path_factory.mktemp(request.param)
        original = SOUNDS[request.param].save(folder)
        backbone = build(lookup(f"hf/{folder}"))
        generator = torch.Generator().manual_seed(1)
        if request.param == "ast":
            features = torch.randn(2, 64, 16, generator=generator)
            mask = torch.ones(2, 64, dtype=torch.int64)
            inputs = {"input_values": features}
            return Case(backbone=backbone, original=original, batch=(features, mask), original_inputs=inputs)
        if request.param == "whisper":
            features = torch.randn(2, 100, 16, generator=generator)
            mask = torch.ones(2, 100, dtype=torch.int64)
            inputs = {"input_features": features.transpose(1, 2)}
        else:
            features, mask = wave_batch()
            inputs = {"input_values": features}
            if backbone.preprocessing.extractor(features[0].numpy()).shape == (640,) and _takes_mask(folder):
                inputs["attention_mask"] = mask
        base = "encoder" if request.param == "whisper" else original.base_model_prefix
        with torch.inference_mode():  # before the projection is moved behind the mean
            torch.testing.assert_close(backbone((features, mask)), original(**inputs).logits, rtol=1e-5, atol=1e-6)
        moved = MeanThenProjection(original, base)
        return Case(backbone=backbone, original=moved, batch=(features, mask), original_inputs=inputs)

    def test_a_probe_computes_its_features_in_eval_mode(self, backbone: Backbone, case: Case) -> None:
        # Against the frozen model: whether weights require gradients decides how torch folds a product of a
        # tensor that is not contiguous (WavLM's attention has one), and with it the last bit.
        freeze(backbone, backbone.num_blocks)
        with torch.inference_mode():
            expected = backbone.eval().features(case.batch)
            features = backbone.train().features(case.batch)
            unfrozen = case.backbone.features(case.batch)
        assert torch.equal(features, expected)
        torch.testing.assert_close(unfrozen, expected)


def _takes_mask(folder: Any) -> bool:
    from transformers import AutoFeatureExtractor

    return bool(AutoFeatureExtractor.from_pretrained(folder).return_attention_mask)
