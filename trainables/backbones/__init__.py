"""Pretrained models from their own libraries, as exact chains of blocks."""

from __future__ import annotations

from dataclasses import replace

import torch

from trainables.backbones.chain import Backbone
from trainables.backbones.head import replace_head
from trainables.backbones.hf import build_hf
from trainables.backbones.taps import trim_convolutions
from trainables.backbones.timm import build_timm
from trainables.backbones.torchvision import build_torchvision
from trainables.catalog import RANDOM, BackboneSpec
from trainables.errors import InvalidConfig
from trainables.plugins import load_plugin

__all__ = ["Backbone", "build", "replace_head"]

_BUILDERS = {"hf": build_hf, "timm": build_timm, "torchvision": build_torchvision}


def build(spec: BackboneSpec, *, load_weights: bool = True) -> Backbone:
    """Build a backbone in eval mode with the head of its source.

    Args:
        spec: from `trainables.catalog.lookup`. Weights are loaded unless it says ``@random``; then they
            are the source's own initialisation under seed 0, the same in every process.
        load_weights: False builds the very architecture of the spec without asking for its weights, for whoever
            brings others. A plug-in is asked for its ``@random``.

    Raises:
        UnknownName: the source knows no such architecture or weights.
        InvalidConfig: the architecture is no chain of blocks, or a plug-in's builder returns something else.
        WeightsUnavailable: the checkpoint is neither on this machine nor to be fetched.
        MissingExtra: the checkpoint comes with a package that is not installed.
    """
    known = _BUILDERS.get(spec.source)
    with torch.random.fork_rng(devices=[]):
        # Of the CPU alone: `torch.manual_seed` would reseed, and not restore, every GPU as well.
        torch.default_generator.manual_seed(0)
        if known is not None:
            backbone = known(spec, load_weights=load_weights)
        else:
            backbone = load_plugin(spec.source)(spec if load_weights else replace(spec, weights=RANDOM))
    if not isinstance(backbone, Backbone):
        raise InvalidConfig(f"the plug-in of {spec.name} must return a Backbone, it returned {type(backbone).__name__}")
    trim_convolutions(backbone)
    return backbone.eval()
