"""The new task head in the place of the pretrained classifier."""

from __future__ import annotations

import torch
from torch import nn

from trainables.backbones.chain import Backbone

__all__ = ["replace_head"]


def replace_head(backbone: Backbone, num_classes: int, seed: int) -> None:
    """Swap the head's classifier for a fresh one of `num_classes` outputs, in place.

    Weights are normal with standard deviation 0.01 and biases zero, so that the first loss is near
    ln(num_classes) and the first gradients into the backbone are small.

    Args:
        num_classes: at least 2.
        seed: of the new weights alone.
    """
    path, old = [
        (path, module) for path, module in backbone.head.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
    ][-1]
    new: nn.Linear | nn.Conv2d
    # torch's own initialisation, which is overwritten, draws from the global generator.
    with torch.random.fork_rng(devices=[]):
        if isinstance(old, nn.Linear):
            new = nn.Linear(old.in_features, num_classes)
        else:
            new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        new.weight.normal_(0.0, 0.01, generator=generator)
        if new.bias is not None:
            new.bias.zero_()
    if path:
        backbone.head.set_submodule(path, new)
    else:
        backbone.head = new
