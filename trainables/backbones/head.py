"""The new task head in the place of the pretrained classifier."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from trainables.backbones.chain import Backbone
from trainables.errors import InvalidConfig

__all__ = ["replace_head"]

_CLASSIFIER_STD: Final = 0.01
_DENSE_STD: Final = 0.02


def replace_head(backbone: Backbone, num_outputs: int, seed: int) -> None:
    """Make the head new, in place: a classifier of `num_outputs` outputs, and whatever stands before it.

    The classifier's weights are normal with standard deviation 0.01 and its biases zero, so that the first
    loss is near ln(num_outputs) and the first gradients into the backbone are small. Other linear and
    convolutional layers of a head were trained for its old classes, or never: they become normal with 0.02,
    the value transformers uses, with zero biases. Norms start as torch starts them.

    The classifier is the head's last linear or convolutional layer. A head that has several (and, say,
    averages them) names them in an attribute ``classifiers``, a tuple of paths.

    Args:
        num_outputs: classes, or values to regress; at least 1.
        seed: of the new weights alone; the global generators are neither read nor moved.

    Raises:
        InvalidConfig: there is no such layer, or some other part of the head cannot be made new.
    """
    classifiers = _classifiers(backbone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path in classifiers:
            _replace(backbone, path, num_outputs, generator)
        for path, module in backbone.head.named_modules():
            if path not in classifiers and any(True for _ in module.parameters(recurse=False)):
                _renew(backbone, path, module, generator)


def _classifiers(backbone: Backbone) -> tuple[str, ...]:
    named: tuple[str, ...] = getattr(backbone.head, "classifiers", ())
    layers = [path for path, module in backbone.head.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers or not set(named) <= set(layers):
        raise InvalidConfig(f"{backbone.spec.name}: its head has the layers {layers} to replace, and names {named}")
    return named or (layers[-1],)


def _replace(backbone: Backbone, path: str, num_outputs: int, generator: torch.Generator) -> None:
    old = backbone.head.get_submodule(path)
    new: nn.Linear | nn.Conv2d
    # torch's own initialisation, which is overwritten, draws from the global generator.
    with torch.random.fork_rng(devices=[]):
        if isinstance(old, nn.Linear):
            new = nn.Linear(old.in_features, num_outputs)
        elif isinstance(old, nn.Conv2d):
            new = nn.Conv2d(old.in_channels, num_outputs, kernel_size=1)
        else:
            raise TypeError(f"{path} is a {type(old).__name__}")
    new.train(old.training)
    _draw(new, _CLASSIFIER_STD, generator)
    if path:
        backbone.head.set_submodule(path, new)
    else:
        backbone.head = new


def _renew(backbone: Backbone, path: str, module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
        _draw(module, _DENSE_STD, generator)
    elif callable(reset := getattr(module, "reset_parameters", None)):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator, device="cpu")))
            reset()
    else:
        raise InvalidConfig(
            f"{backbone.spec.name}: layer {path!r} of its head is a {type(module).__name__}, which cannot be made new"
        )


def _draw(layer: nn.Linear | nn.Conv1d | nn.Conv2d, std: float, generator: torch.Generator) -> None:
    layer.weight.normal_(0.0, std, generator=generator)
    if layer.bias is not None:
        layer.bias.zero_()
