"""transformers' image classifiers: where their parts are.

Blocks are the patch or stem embeddings, then one per layer (of all stages, one after the other). The final
norm and the pooling belong to the last. Images are square, so a layer that needs the height and width of
its grid has them from the number of tokens.
"""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainables.backbones.hf.family import Family
from trainables.backbones.hf.part import Layout, Step, first_of
from trainables.backbones.hf.preprocessing import image_preprocessing

__all__ = ["VISION"]


def _call(x: Tensor, *modules: nn.Module) -> Tensor:
    for module in modules:
        x = first_of(module(x))
    return x


def _take_first(hidden: Tensor) -> Tensor:
    return hidden[:, 0, :]


def _take_first_and_mean(hidden: Tensor, num_registers: int = 0) -> Tensor:
    return torch.cat([hidden[:, 0], hidden[:, 1 + num_registers :].mean(dim=1)], dim=1)


def _average(hidden: Tensor, pooler: nn.Module) -> Tensor:
    return torch.flatten(pooler(hidden.transpose(1, 2)), 1)


def _average_and_norm(features: Tensor, norm: nn.Module) -> Tensor:
    pooled: Tensor = norm(features.mean([-2, -1]))
    return pooled


def _average_grid(features: Tensor, pooler: nn.Module) -> Tensor:
    return torch.flatten(pooler(features), 1)


def _chain(embed: list[Step], layers: list[list[Step]], pool: list[Step]) -> Layout:
    """Embeddings and layers; every family has its head at ``classifier``."""
    return Layout([embed, *layers], pool, [Step(_call, ("classifier",))])


def _vit(model: Any, _: Any, *, base: str) -> Layout:
    return _chain(
        [Step(_call, (f"{base}.embeddings",))],
        [[Step(_call, (f"{base}.layers.{i}",))] for i in range(model.config.num_hidden_layers)],
        [Step(_call, (f"{base}.layernorm",)), Step(_take_first)],
    )


def _dinov2(model: Any, _: Any, *, base: str) -> Layout:
    num_registers = getattr(model.config, "num_register_tokens", 0)
    return _chain(
        [Step(_call, (f"{base}.embeddings",))],
        [[Step(_call, (f"{base}.encoder.layer.{i}",))] for i in range(model.config.num_hidden_layers)],
        [Step(_call, (f"{base}.layernorm",)), Step(partial(_take_first_and_mean, num_registers=num_registers))],
    )


def _beit(model: Any, _: Any) -> Layout:
    # A position bias that all layers share belongs to the embeddings' block.
    shared = ("beit.shared_position_bias",) if model.beit.shared_position_bias is not None else ()
    run = partial(_beit_layer, patch_size=model.config.patch_size)
    _remember_positions(model.config.image_size // model.config.patch_size)
    return _chain(
        [Step(_beit_embed, ("beit.embeddings", *shared))],
        [[Step(run, (f"beit.layers.{i}",), shared)] for i in range(model.config.num_hidden_layers)],
        [Step(_call, ("beit.layernorm", "beit.pooler"))],
    )


def _beit_embed(pixels: Tensor, embeddings: nn.Module, *_: nn.Module) -> Tensor:
    hidden: Tensor = embeddings(pixels)
    return hidden


def _beit_layer(hidden: Tensor, layer: nn.Module, shared: nn.Module | None = None, *, patch_size: int) -> Tensor:
    side = isqrt(hidden.shape[1] - 1)
    _remember_positions(side)
    bias = None if shared is None else shared((side, side), dim_size=hidden.shape[1])
    resolution = (side * patch_size, side * patch_size)
    return first_of(layer(hidden, attention_mask=bias, resolution=resolution))  # type: ignore[no-any-return]


def _remember_positions(side: int) -> None:
    """Fill BEiT's cache of position indices outside inference mode.

    A tensor made in that mode cannot be used in training, and transformers keeps the first it makes.
    """
    from transformers.models.beit.modeling_beit import BeitRelativePositionBias

    with torch.inference_mode(False):
        BeitRelativePositionBias.generate_relative_position_index((side, side))


def _swin(model: Any, _: Any, *, base: str) -> Layout:
    layers = []
    for i, stage in enumerate(model.get_submodule(f"{base}.encoder.layers")):
        path = f"{base}.encoder.layers.{i}"
        layers += [[Step(_swin_layer, (f"{path}.blocks.{j}",))] for j in range(len(stage.blocks))]
        if stage.downsample is not None:
            # With the layer before it: what leaves the block is the smaller of the two.
            layers[-1].append(Step(_swin_layer, (f"{path}.downsample",)))
    return _chain(
        [Step(_call, (f"{base}.embeddings",))],
        layers,
        [Step(_call, (f"{base}.layernorm",)), Step(_average, (f"{base}.pooler",))],
    )


def _swin_layer(hidden: Tensor, layer: nn.Module) -> Tensor:
    side = isqrt(hidden.shape[1])
    return first_of(layer(hidden, (side, side)))  # type: ignore[no-any-return]


def _convnext(model: Any, _: Any, *, base: str) -> Layout:
    layers = []
    for i, stage in enumerate(model.get_submodule(f"{base}.encoder.stages")):
        path = f"{base}.encoder.stages.{i}"
        down = [Step(_call, (f"{path}.downsampling_layer.{j}",)) for j in range(len(stage.downsampling_layer))]
        stacked = [[Step(_call, (f"{path}.layers.{j}",))] for j in range(len(stage.layers))]
        layers += [down + stacked[0], *stacked[1:]]
    return _chain([Step(_call, (f"{base}.embeddings",))], layers, [Step(_average_and_norm, (f"{base}.layernorm",))])


def _resnet(model: Any, _: Any) -> Layout:
    return _chain(
        [Step(_call, ("resnet.embedder",))],
        [
            [Step(_call, (f"resnet.encoder.stages.{i}.layers.{j}",))]
            for i, stage in enumerate(model.resnet.encoder.stages)
            for j in range(len(stage.layers))
        ],
        [Step(_average_grid, ("resnet.pooler",))],
    )


def _family(model: str, cut: Any) -> Family:
    return Family(modality="image", model=f"{model}ForImageClassification", cut=cut, preprocess=image_preprocessing)


VISION: Final = {
    "beit": _family("Beit", _beit),
    "convnext": _family("ConvNext", partial(_convnext, base="convnext")),
    "convnextv2": _family("ConvNextV2", partial(_convnext, base="convnextv2")),
    # Without the distillation token's own classifier: a checkpoint that has one gets a new head.
    "deit": _family("DeiT", partial(_vit, base="deit")),
    "dinov2": _family("Dinov2", partial(_dinov2, base="dinov2")),
    "dinov2_with_registers": _family("Dinov2WithRegisters", partial(_dinov2, base="dinov2_with_registers")),
    "resnet": _family("ResNet", _resnet),
    "swin": _family("Swin", partial(_swin, base="swin")),
    "swinv2": _family("Swinv2", partial(_swin, base="swinv2")),
    "vit": _family("ViT", partial(_vit, base="vit")),
}
