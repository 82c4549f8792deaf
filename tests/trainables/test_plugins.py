"""Backbones of other packages: found by their entry point, held to the contract of our own."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backbone_contract import BackboneContract, Case
from torch import nn

from trainables import plugins
from trainables.backbones import build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import load_task
from trainables.errors import InvalidConfig, UnknownName
from trainables.finetune import Finetuner

FOLDER = Path(__file__).resolve().parents[1] / "plugins"
README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(autouse=True, scope="module")
def _installed() -> Iterator[None]:
    """Two plug-ins, as installed packages are: a module and its metadata on the path."""
    sys.path.insert(0, str(FOLDER))
    plugins._entry_points.cache_clear()
    yield
    sys.path.remove(str(FOLDER))
    plugins._entry_points.cache_clear()


class TestMyBackbones(BackboneContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        backbone = build(lookup("mine/three_layers"))
        parts = copy.deepcopy(backbone)
        original = nn.Sequential(*parts.blocks, parts.head)
        return Case(backbone=backbone, original=original, batch=torch.randn(2, 3, 32, 32))

    def test_every_parameter_in_use_is_in_exactly_one_place(self, case: Case) -> None:
        assert len({id(p) for p in case.backbone.parameters()}) == 8


def test_sources_are_listed_without_importing_them() -> None:
    assert {"mine", "resemblyzer"} <= set(plugins.plugin_sources())
    assert lookup("mine/three_layers@./x.pth").weights == "./x.pth"
    assert lookup("mine/three_layers").modality is None


def test_a_checkpoint_of_ones_own_is_loaded(tmp_path: Path) -> None:
    trained = build(lookup("mine/three_layers"))
    with torch.no_grad():
        next(trained.parameters()).fill_(0.25)
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    again = build(lookup(f"mine/three_layers@{tmp_path / 'mine.pth'}"))
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), again.parameters(), strict=True))


def test_it_is_tuned_like_any_other() -> None:
    backbone = build(lookup("mine/three_layers"))
    task = load_task(TaskSpec(name="digits", num_train=200, num_val=100), backbone.preprocessing)
    config = FinetuneConfig(
        backbone="mine/three_layers", max_epochs=20, batch_size=8, learning_rate=1e-2, head_learning_rate=3e-2
    )
    scores = [metrics.val_score for metrics in Finetuner(config, backbone, task).epochs()]
    assert scores[-1] > 0.5


def test_the_readme_shows_this_very_plug_in() -> None:
    code = (FOLDER / "my_backbones.py").read_text(encoding="utf-8")
    assert code in README.read_text(encoding="utf-8")


def test_an_unknown_source_lists_those_of_plug_ins() -> None:
    with pytest.raises(UnknownName, match="must be one of torchvision, timm, hf, mine, resemblyzer"):
        lookup("yours/three_layers")


def broken(source: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(name=source, value=value, group=plugins.GROUP)
    monkeypatch.setattr(plugins, "_entry_points", lambda: {source: entry})


def test_one_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken("gone", "no_such_module:build", monkeypatch)
    with pytest.raises(InvalidConfig, match=r"source 'gone'.*'no_such_module:build' cannot be loaded"):
        build(lookup("gone/anything"))


def test_one_that_builds_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken("odd", "types:SimpleNamespace", monkeypatch)
    monkeypatch.setattr("trainables.backbones.load_plugin", lambda source: lambda spec: nn.Linear(1, 1))
    with pytest.raises(InvalidConfig, match="plug-in of odd/anything must return a Backbone, it returned Linear"):
        build(lookup("odd/anything"))


@pytest.mark.skipif(importlib.util.find_spec("resemblyzer") is None, reason="pip install --no-deps resemblyzer==0.1.4")
class TestVoiceEncoder:
    """A pretrained network that no library of ours knows, against its published definition."""

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        frames = torch.rand(3, 50, 40, generator=torch.Generator().manual_seed(0))
        lengths = torch.tensor([50, 20, 35])
        mask = (torch.arange(50) < lengths[:, None]).long()
        return frames * mask[..., None], mask

    def test_it_equals_the_published_network_whatever_the_padding(self) -> None:
        backbone: Any = build(lookup("resemblyzer/voice_encoder"))
        state = sys.modules["voice_backbone"]._published()
        lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
        lstm.load_state_dict({n.removeprefix("lstm."): t for n, t in state.items() if n.startswith("lstm.")})
        linear.load_state_dict({n.removeprefix("linear."): t for n, t in state.items() if n.startswith("linear.")})
        frames, mask = self.inputs()
        with torch.inference_mode():
            features = backbone.features((frames, mask))
            for row, length in enumerate(mask.sum(dim=1).tolist()):
                raw = linear(lstm(frames[row : row + 1, :length])[1][0][-1]).relu()
                assert torch.allclose(features[row], (raw / raw.norm(dim=1, keepdim=True))[0], atol=1e-6)

    def test_its_frames_are_those_of_a_mel_spectrogram(self) -> None:
        extractor = build(lookup("resemblyzer/voice_encoder@random")).preprocessing.extractor  # type: ignore[union-attr]
        tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
        frames = extractor(tone)
        assert frames.shape == (101, 40)
        assert (frames[5:-5].argmax(axis=1) == frames[50].argmax()).all()
        assert 10 < frames[50].argmax() < 20  # of 40 channels up to 8 kHz, 1 kHz is about the fifteenth
