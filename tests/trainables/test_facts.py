"""`facts.json` says what the built models say."""

from __future__ import annotations

from dataclasses import fields

import pytest
from torchvision import models

from trainables.catalog import BackboneSpec, known_architectures, lookup
from trainables.facts import ARCHITECTURES, measure

QUICK = (
    "hf/facebook/wav2vec2-base",
    "timm/tf_efficientnet_lite0",
    "timm/vit_tiny_patch16_224",
    "torchvision/mobilenet_v3_small",
)

THOROUGH = ARCHITECTURES[::24]
"""Measuring all takes minutes."""


def test_the_table_holds_what_is_listed() -> None:
    assert list(known_architectures()) == sorted(ARCHITECTURES)
    assert len(set(ARCHITECTURES)) == len(ARCHITECTURES)


def test_all_classification_models_of_torchvision_are_listed() -> None:
    listed = {name for name in ARCHITECTURES if name.startswith("torchvision/")}
    assert listed == {f"torchvision/{name}" for name in models.list_models(module=models)}


@pytest.mark.parametrize(
    "architecture",
    [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in THOROUGH if name not in QUICK)],
)
def test_facts_are_what_is_measured(architecture: str) -> None:
    measured = measure(architecture)
    spec = lookup(architecture)
    stored = {f.name: getattr(spec, f.name) for f in fields(BackboneSpec) if f.name in measured}
    assert stored == {k: tuple(v) if isinstance(v, list) else v for k, v in measured.items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_block_of_the_table_does_work_and_passes_something_on(architecture: str) -> None:
    spec = lookup(architecture)
    assert spec.num_blocks is not None
    assert spec.block_flops is not None
    assert spec.boundary_elements is not None
    assert len(spec.block_flops) == len(spec.boundary_elements) == spec.num_blocks >= 2
    # Embeddings are looked up, not computed.
    assert min(spec.block_flops[spec.modality == "text" :]) > 0
    assert min(spec.boundary_elements) > 0
