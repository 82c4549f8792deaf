"""`facts.json` says what the built models say."""

from __future__ import annotations

from dataclasses import fields

import pytest

from trainables.catalog import BackboneSpec, known_architectures, lookup
from trainables.facts import ARCHITECTURES, measure

QUICK = {"timm/tf_efficientnet_lite0", "timm/vit_tiny_patch16_224", "torchvision/mobilenet_v3_small"}


def test_the_table_holds_what_is_listed() -> None:
    assert known_architectures() == tuple(sorted(ARCHITECTURES))


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(a, marks=[] if a in QUICK else pytest.mark.slow) for a in ARCHITECTURES],
)
def test_facts_are_what_is_measured(architecture: str) -> None:
    measured = measure(lookup(f"{architecture}@random"))
    spec = lookup(architecture)
    stored = {f.name: getattr(spec, f.name) for f in fields(BackboneSpec) if f.name in measured}
    assert stored == {k: tuple(v) if isinstance(v, list) else v for k, v in measured.items()}
    assert len(measured["block_flops"]) == len(measured["boundary_elements"]) == measured["num_blocks"]
    assert all(flops > 0 for flops in measured["block_flops"])
