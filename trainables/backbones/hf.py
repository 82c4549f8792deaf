"""Image classifiers of Hugging Face transformers as chains of blocks.

transformers' models cannot be traced by torch.fx, so each supported family says where its parts are:
embeddings, layers, final norm, pooling. What a family's own ``ForImageClassification`` does with them is
kept to the bit, which the contract tests check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainables.backbones.chain import Backbone
from trainables.backbones.hub import hub_offline, require_hub
from trainables.catalog import RANDOM, BackboneSpec
from trainables.errors import UnknownName, WeightsUnavailable
from trainables.preprocessing import ImagePreprocessing

__all__ = ["build_hf"]


def _first_token(hidden: Tensor) -> Tensor:
    return hidden[:, 0, :]


def _first_token_and_mean(hidden: Tensor) -> Tensor:
    return torch.cat([hidden[:, 0], hidden[:, 1:].mean(dim=1)], dim=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Family:
    """Where the parts of one ``model_type`` are."""

    base: str
    layers: str
    pool: Callable[[Tensor], Tensor]


_FAMILIES: Final = {
    "vit": _Family(base="vit", layers="layers", pool=_first_token),
    "dinov2": _Family(base="dinov2", layers="encoder.layer", pool=_first_token_and_mean),
}


class _Layer(nn.Module):
    """A transformer layer that returns its hidden states alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor) -> Tensor:
        out = self.layer(hidden)
        result: Tensor = out[0] if isinstance(out, tuple) else out
        return result


class _LastLayer(_Layer):
    """The last layer with the final norm and the pooling: what leaves it is the feature vector."""

    def __init__(self, layer: nn.Module, norm: nn.Module, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__(layer)
        self.norm = norm
        self.pool = pool

    def forward(self, hidden: Tensor) -> Tensor:
        return self.pool(self.norm(super().forward(hidden)))


def build_hf(spec: BackboneSpec) -> Backbone:
    """Build a transformers image classifier with its original classifier.

    ``hf/<hub id>[@revision]`` or ``hf/./<folder>``. Only safetensors are loaded and no remote code is run.

    Raises:
        UnknownName: not an image classifier of a supported family.
        WeightsUnavailable: neither in the hub's cache (or the folder) nor to be downloaded.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = _fetch(spec, AutoConfig.from_pretrained)
    family = _FAMILIES.get(config.model_type)
    if family is None:
        raise UnknownName(
            f"{spec.name} is of the transformers family {config.model_type!r}; "
            f"supported are {', '.join(sorted(_FAMILIES))}"
        )
    processor = _fetch(spec, AutoImageProcessor.from_pretrained)
    if spec.weights == RANDOM:
        model = AutoModelForImageClassification.from_config(config, attn_implementation="sdpa")
    else:
        model = _fetch(
            spec,
            AutoModelForImageClassification.from_pretrained,
            use_safetensors=True,
            attn_implementation="sdpa",
        )
    model.eval()
    base = model.get_submodule(family.base)
    *layers, last = base.get_submodule(family.layers)
    blocks = [base.embeddings, *map(_Layer, layers), _LastLayer(last, base.layernorm, family.pool)]
    if not isinstance(model.classifier, nn.Linear):
        raise UnknownName(f"{spec.name} has no classification head; use a checkpoint fine-tuned to classify")
    return Backbone(spec, blocks, model.classifier, _preprocessing(processor))


def _fetch(spec: BackboneSpec, load: Callable[..., Any], **options: Any) -> Any:
    """Load from a folder or the hub's cache; from the hub only where its host answers."""
    is_folder = spec.architecture.startswith((".", "/"))
    revision = None if spec.weights == RANDOM else spec.weights
    if is_folder and not Path(spec.architecture).is_dir():
        raise WeightsUnavailable(f"{spec.name}: there is no folder {Path(spec.architecture).resolve()}")
    options = {"trust_remote_code": False, "revision": revision or "main", **options}
    missing = f"{spec.architecture} is not complete in {'that folder' if is_folder else 'the hub cache'}"
    try:
        with hub_offline():
            return load(spec.architecture, **options)
    except (OSError, ValueError) as error:
        if is_folder:
            raise WeightsUnavailable(f"{missing}: {error}") from error
        require_hub(missing)
    try:
        return load(spec.architecture, **options)
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"{missing} and cannot be fetched: {error}") from error


def _preprocessing(processor: Any) -> ImagePreprocessing:
    size = processor.size
    resized = size.get("shortest_edge") or size["height"]
    crop = processor.crop_size["height"] if getattr(processor, "do_center_crop", False) else resized
    return ImagePreprocessing(
        input_size=crop,
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        interpolation="bicubic" if int(processor.resample) == 3 else "bilinear",
        crop_frac=crop / resized,
    )
