"""torchvision's classification models keep the contract and are named as torchvision names them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from backbone_contract import BackboneContract, Case, make_case, original_name
from torchvision import models

from trainables.backbones import build, replace_head
from trainables.catalog import lookup
from trainables.errors import UnknownName

WITHOUT_AUXILIARY = {"aux_logits": False, "transform_input": True, "init_weights": False}

QUICK = [
    ("mobilenet_v3_small", 64, {}),
    ("resnet18", 64, {}),
    ("shufflenet_v2_x0_5", 64, {}),
    ("squeezenet1_1", 64, {}),
    ("regnet_y_400mf", 64, {}),
]
"""The smallest of every kind, here and below, with a side in pixels and what builds the original."""

THOROUGH = [
    ("alexnet", 64, {}),
    ("convnext_tiny", 32, {}),
    ("densenet121", 64, {}),
    ("efficientnet_b0", 64, {}),
    ("googlenet", 64, WITHOUT_AUXILIARY),
    ("inception_v3", 96, WITHOUT_AUXILIARY),
    ("maxvit_t", 224, {}),
    ("mnasnet0_5", 64, {}),
    ("mobilenet_v2", 64, {}),
    ("regnet_x_400mf", 64, {}),
    ("swin_t", 64, {}),
    ("swin_v2_t", 64, {}),
    ("vgg11", 32, {}),
    ("vit_b_32", 224, {}),
]


class TestTorchvisionContract(BackboneContract):
    @pytest.fixture(
        scope="class",
        params=[*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in THOROUGH)],
        ids=lambda param: param[0],
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        architecture, side, options = request.param
        torch.manual_seed(0)
        original = models.get_model(architecture, weights=None, **options)
        return make_case(f"torchvision/{architecture}@random", original, side)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", models.list_models(module=models))
def test_every_classification_model_is_a_chain_with_a_head_to_replace(architecture: str) -> None:
    with torch.device("meta"), torch.no_grad():
        backbone = build(lookup(f"torchvision/{architecture}@random"))
        assert backbone.num_blocks == lookup(f"torchvision/{architecture}").num_blocks
        replace_head(backbone, 7, seed=0)
        side = backbone.preprocessing.input_size
        assert backbone(torch.empty(2, 3, side, side)).shape == (2, 7)


def test_untrained_weights_do_not_depend_on_what_was_drawn_before() -> None:
    torch.manual_seed(0)
    original = models.mobilenet_v3_small(weights=None).state_dict()
    torch.manual_seed(99)
    torch.rand(3)
    before = torch.get_rng_state()
    built = build(lookup("torchvision/mobilenet_v3_small@random")).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in built.items():
        assert torch.equal(tensor, original[original_name(name)]), name


def test_the_untrained_control_is_fed_like_the_default_checkpoint() -> None:
    transform = models.ResNet50_Weights.DEFAULT.transforms()
    preprocessing = build(lookup("torchvision/resnet50@random")).preprocessing
    assert preprocessing.input_size == transform.crop_size[0]
    assert preprocessing.mean == tuple(transform.mean)
    assert preprocessing.std == tuple(transform.std)
    assert round(preprocessing.input_size / preprocessing.crop_frac) == transform.resize_size[0]


@pytest.mark.parametrize(
    ("architecture", "weights", "side"),
    [
        ("vit_b_16", "IMAGENET1K_V1", 224),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", 384),
        ("vit_h_14", None, 518),
    ],
)
def test_a_vision_transformer_is_built_for_the_size_of_its_checkpoint(
    architecture: str, weights: str | None, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shapes are compared without the file: only its size differs between these checkpoints."""

    def published(url: str) -> dict[str, Any]:
        with torch.device("meta"):
            return dict(models.get_model(architecture, image_size=side).state_dict())

    monkeypatch.setattr("trainables.backbones.torchvision.load_published", published)
    name = f"torchvision/{architecture}" + (f"@{weights}" if weights else "")
    with torch.device("meta"), torch.no_grad():
        backbone = build(lookup(name))
        assert backbone.preprocessing.input_size == side
        assert backbone(torch.empty(1, 3, side, side)).shape == (1, 1000)


def test_unknown_names_say_what_was_meant() -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet18'"):
        build(lookup("torchvision/resnet_18"))
    with pytest.raises(UnknownName, match="no weights 'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V"):
        build(lookup("torchvision/resnet50@IMAGENET1K_V3"))
    with pytest.raises(UnknownName, match="no weights 'pypi'"):
        build(lookup("torchvision/resnet18@pypi"))
