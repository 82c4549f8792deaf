"""torchvision's classification models as chains of blocks."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trainables.backbones.chain import Backbone
from trainables.backbones.checkpoint import load_local
from trainables.backbones.partition import partition
from trainables.backbones.unit import num_outputs
from trainables.backbones.weights import load_published
from trainables.catalog import RANDOM, BackboneSpec, is_checkpoint_path
from trainables.errors import UnknownName, did_you_mean
from trainables.preprocessing import ImagePreprocessing

__all__ = ["build_torchvision"]

_AUXILIARY: Final = ("AuxLogits.", "aux1.", "aux2.")
"""Prefixes of what checkpoints of Inception and GoogLeNet hold besides the model."""


def build_torchvision(spec: BackboneSpec, *, load_weights: bool = True) -> Backbone:
    """Build a torchvision model with its original classifier, or, without its weights, an untrained one like it.

    The auxiliary classifiers of Inception and GoogLeNet, which only train, are left out.

    Raises:
        UnknownName: torchvision has no such classification model or weights.
        WeightsUnavailable: the checkpoint is neither cached nor to be downloaded, or the file is not there.
        InvalidConfig: the file is no checkpoint of this architecture.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if spec.architecture not in known:
        raise UnknownName(
            f"torchvision has no classification model {spec.architecture!r}" + did_you_mean(spec.architecture, known)
        )
    weights = _weights(spec)
    with _NumbersOnCpu() if spec.architecture.startswith("regnet") else nullcontext():
        model = models.get_model(spec.architecture, weights=None, **_options(spec.architecture, weights))
    classifier = _classifier_path(model, len(weights.meta["categories"]))
    has_trained_head = load_weights and spec.weights != RANDOM
    if has_trained_head and is_checkpoint_path(spec.weights):
        has_trained_head = load_local(model, str(spec.weights), [classifier], optional=_AUXILIARY)
    elif has_trained_head:
        state = {name: v for name, v in load_published(weights.url).items() if not name.startswith(_AUXILIARY)}
        model.load_state_dict(state, strict=True)
    model.eval()
    preprocessing = _preprocessing(weights)
    side = preprocessing.input_size
    blocks, head = partition(model, [classifier], (3, side, side))
    return Backbone(spec, blocks, head, preprocessing, has_trained_head=has_trained_head)


class _NumbersOnCpu(TorchFunctionMode):
    """RegNets read their widths from `torch.arange`, which has no numbers to read on the meta device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.arange, torch.tensor):
            kwargs = {"device": "cpu", **kwargs}
        return func(*args, **kwargs)


def _weights(spec: BackboneSpec) -> Any:
    """The weights enum member; the untrained control and files are fed like the default checkpoint."""
    from torchvision import models

    enum = models.get_model_weights(spec.architecture)
    if spec.weights in (None, RANDOM) or is_checkpoint_path(spec.weights):
        return enum.DEFAULT
    if spec.weights not in enum.__members__:
        raise UnknownName(
            f"torchvision/{spec.architecture} has no weights {spec.weights!r}"
            + did_you_mean(str(spec.weights), enum.__members__)
            + f"; it has {', '.join(enum.__members__)}"
        )
    return enum[spec.weights]


def _options(architecture: str, weights: Any) -> dict[str, Any]:
    """What torchvision's builder derives from the weights, which are loaded here instead."""
    if architecture.startswith("vit_"):
        # Position embeddings belong to one image size: SWAG checkpoints of 384 or 518 px have more.
        return {"image_size": weights.meta["min_size"][0]}
    if architecture in ("googlenet", "inception_v3"):
        # Their checkpoints expect inputs as ImageNet-normalised, then re-scaled inside the model.
        return {"aux_logits": False, "transform_input": True, "init_weights": False}
    return {}


def _classifier_path(model: nn.Module, num_classes: int) -> str:
    """The last layer in order of definition with one output per class."""
    paths: list[str] = [path for path, module in model.named_modules() if num_outputs(module) == num_classes]
    return paths[-1]


def _preprocessing(weights: Any) -> ImagePreprocessing:
    transform = weights.transforms()
    crop, resize = transform.crop_size[0], transform.resize_size[0]
    return ImagePreprocessing(
        input_size=crop,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
        crop_frac=crop / resize,
    )
