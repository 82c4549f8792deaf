"""Damaged images, at the size at which the network sees them.

The strengths of noise, blur, JPEG, contrast, brightness and pixelation are severities 1, 3 and 5 of CIFAR-10-C for
images of 32 pixels and of ImageNet-C for images of 224 (Hendrycks and Dietterich 2019, arXiv 1903.12261, and the
code it was published with); between the two sizes the geometric mean weighted by the logarithm of the side, and
beyond them the nearer one's. What is given as a share of the side or in degrees is the same at every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from trainables.perturbations.contract import Perturbation

__all__ = ["IMAGE"]

_SMALL: Final = 32
_LARGE: Final = 224

_GREY: Final = 128


@dataclass(frozen=True, slots=True)
class _Strengths:
    """Of severities 1, 2 and 3."""

    small: tuple[float, float, float]
    """At 32 pixels."""

    large: tuple[float, float, float]
    """At 224 pixels."""

    def at(self, severity: int, image: Tensor) -> float:
        small, large = self.small[severity - 1], self.large[severity - 1]
        share = math.log(image.shape[-1] / _SMALL) / math.log(_LARGE / _SMALL)
        return float(small * (large / small) ** min(max(share, 0.0), 1.0))


_NOISE: Final = _Strengths((0.04, 0.08, 0.10), (0.08, 0.18, 0.38))
_BLUR: Final = _Strengths((0.4, 0.7, 1.0), (1.0, 3.0, 6.0))
_QUALITY: Final = _Strengths((80, 58, 40), (25, 15, 7))
_CONTRAST: Final = _Strengths((0.75, 0.4, 0.15), (0.4, 0.2, 0.05))
_BRIGHTNESS: Final = _Strengths((0.05, 0.15, 0.3), (0.1, 0.3, 0.5))
_RESOLUTION: Final = _Strengths((0.95, 0.85, 0.65), (0.6, 0.4, 0.25))
_COVERED: Final = (0.25, 0.375, 0.5)
_DEGREES: Final = (10.0, 20.0, 30.0)


def gaussian_noise(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """Independent normal noise on every channel; its standard deviation is 0.04, 0.08, 0.10 of the range of pixels
    at 32 px and 0.08, 0.18, 0.38 at 224 px."""
    noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
    return _to_bytes(image + noise * (255 * _NOISE.at(severity, image)))


def gaussian_blur(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """Standard deviation 0.4, 0.7, 1.0 pixels at 32 px and 1, 3, 6 at 224 px, the kernel cut at three of them."""
    sigma = _BLUR.at(severity, image)
    # Separable, on one thread: torchvision's filter of 37 x 37 takes ten times as long.
    blurred = gaussian_filter(image.numpy().astype(np.float32), (0, sigma, sigma), mode="reflect", truncate=3.0)
    return _to_bytes(torch.from_numpy(blurred))


def jpeg(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """Written at quality 80, 58, 40 at 32 px and 25, 15, 7 at 224 px, and read again."""
    file = BytesIO()
    _to_pillow(image).save(file, "JPEG", quality=round(_QUALITY.at(severity, image)))
    with Image.open(file) as compressed:
        return _from_pillow(compressed)


def contrast(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """Differences from the mean of each channel shrunk to 0.75, 0.4, 0.15 at 32 px and 0.4, 0.2, 0.05 at 224 px."""
    pixels = image.float()
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    return _to_bytes(mean + (pixels - mean) * _CONTRAST.at(severity, image))


def brightness(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """The brightest channel of each pixel raised, hue and saturation kept, by 0.05, 0.15, 0.3 of the range at 32 px
    and 0.1, 0.3, 0.5 at 224 px."""
    pixels = image.float()
    value = pixels.amax(dim=0, keepdim=True)
    raised = (value + 255 * _BRIGHTNESS.at(severity, image)).clamp(max=255)
    # Black has neither hue nor saturation: it becomes grey.
    return _to_bytes(torch.where(value > 0, pixels * (raised / value.clamp(min=1)), raised))


def pixelate(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """Shrunk to 0.95, 0.85, 0.65 of the side at 32 px and 0.6, 0.4, 0.25 at 224 px, and enlarged again, both by
    areas."""
    side = image.shape[-1]
    fewer = max(1, int(side * _RESOLUTION.at(severity, image)))
    coarse = _to_pillow(image).resize((fewer, fewer), Image.Resampling.BOX)
    return _from_pillow(coarse.resize((side, side), Image.Resampling.BOX))


def occlusion(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """A grey square of 0.25, 0.375, 0.5 of the side, anywhere inside the image with equal probability (cutout,
    arXiv 1708.04552)."""
    side = image.shape[-1]
    covered = max(1, round(side * _COVERED[severity - 1]))
    # Squares of one draw lie within each other: both edges move outwards as the square grows.
    top, left = (round(place * (side - covered)) for place in rng.random(2))
    occluded = image.clone()
    occluded[:, top : top + covered, left : left + covered] = _GREY
    return occluded


def rotation(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """By 10, 20, 30 degrees about the centre, to the left or to the right, bilinear; corners are filled with black."""
    degrees = _DEGREES[severity - 1] * (1 if rng.random() < 0.5 else -1)
    rotated: Tensor = F.rotate(image, degrees, interpolation=InterpolationMode.BILINEAR)
    return rotated


IMAGE: Final[dict[str, Perturbation[Tensor]]] = {
    "gaussian_noise": gaussian_noise,
    "gaussian_blur": gaussian_blur,
    "jpeg": jpeg,
    "contrast": contrast,
    "brightness": brightness,
    "pixelate": pixelate,
    "occlusion": occlusion,
    "rotation": rotation,
}


def _to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _from_pillow(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)
