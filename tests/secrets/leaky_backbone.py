"""A backbone of a plug-in that names a secret when it is trained."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.preprocessing import ImagePreprocessing

SECRETS = "cannot fetch https://ada:s3cr3t-canary@host/weights?token=s3cr3t-canary with 'password': 's3cr3t-canary'"


class Leaky(nn.Module):
    """Works until it is trained."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError(SECRETS)
        return x


def build(spec: Any) -> Backbone:
    """Two blocks and a head; ``leaky/fine`` gives nothing away."""
    stem = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU())
    last = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity() if spec.architecture == "fine" else Leaky()
    )
    half = (0.5, 0.5, 0.5)
    fed = ImagePreprocessing(input_size=32, mean=half, std=half, interpolation="bilinear", crop_frac=1.0)
    return Backbone(spec, [stem, last], nn.Linear(8, 10), fed)
