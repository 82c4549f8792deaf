"""Images are, to a rounding, what the transform that a checkpoint was published with makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stored_images import in_memory, pixels
from torchvision import models, transforms

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.config import TaskSpec
from trainables.data.encode import encode
from trainables.preprocessing import ImagePreprocessing


def natural(size: tuple[int, int], seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


SIZES = [(300, 280), (400, 270), (256, 256), (260, 390), (500, 300), (99, 80), (249, 1001)]


def decoded(preprocessing: ImagePreprocessing) -> list[torch.Tensor]:
    """The images of `SIZES`, as the backbone would see them before they are normalised, in levels."""
    source = in_memory(lambda row: natural(SIZES[row], row), len(SIZES))
    return list(pixels(encode(source, TaskSpec(name="t"), preprocessing)).float())


def require_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    difference = (ours - theirs * 255).abs()
    # Two passes of the filter, each rounded to a level of 256: now and then one falls the other way.
    assert difference.max() < 2.01
    assert difference.mean() < 0.05


def test_images_are_what_torchvisions_transform_makes_of_them(cache: Path) -> None:
    for name in ("MobileNet_V3_Small_Weights", "ViT_B_16_Weights", "EfficientNet_B0_Weights", "Swin_T_Weights"):
        transform = getattr(models, name).DEFAULT.transforms()
        preprocessing = ImagePreprocessing(
            input_size=transform.crop_size[0],
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            interpolation=transform.interpolation.value,
            crop_frac=transform.crop_size[0] / transform.resize_size[0],
        )
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (transform.mean, transform.std))
        for row, ours in enumerate(decoded(preprocessing)):
            require_alike(ours, transform(natural(SIZES[row], row)) * std + mean)


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("crop_frac", [0.875, 0.9, 0.95, 1.0])
def test_images_are_what_timms_transform_makes_of_them(crop_frac: float, crop_mode: str, cache: Path) -> None:
    import timm.data

    transform = timm.data.create_transform(
        (3, 224, 224), interpolation="bicubic", crop_pct=crop_frac, crop_mode=crop_mode, normalize=False
    )
    to_tensor = transforms.Compose([*transform.transforms[:2], transforms.ToTensor()])
    preprocessing = ImagePreprocessing(
        input_size=224,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        interpolation="bicubic",
        crop_frac=crop_frac,
        crop_mode=crop_mode,
    )
    for row, ours in enumerate(decoded(preprocessing)):
        require_alike(ours, to_tensor(natural(SIZES[row], row)))


def test_a_backbone_sees_what_its_weights_were_published_with(cache: Path) -> None:
    preprocessing = build(lookup("torchvision/mobilenet_v3_small@random")).preprocessing
    assert isinstance(preprocessing, ImagePreprocessing)
    transform = models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    source = in_memory(lambda row: natural(SIZES[row], row), len(SIZES))
    batch = encode(source, TaskSpec(name="t"), preprocessing).samples.batch(torch.arange(len(SIZES)))
    for row, ours in enumerate(preprocessing.on_device()(batch)):
        assert (ours - transform(natural(SIZES[row], row))).abs().mean() < 1 / 255
