"""transformers' image classifiers: chains equal to the original, nothing fetched without being told where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.errors import UnknownName, WeightsUnavailable

SIDE = 32


def _save(folder: Path, name: str) -> Any:
    import transformers

    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": SIDE,
        "patch_size": 8,
        "num_labels": 7,
    }
    torch.manual_seed(1)  # not the seed that controls are built under
    config = getattr(transformers, f"{name}Config")(**sizes)
    model = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
    ).save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", ["ViT", "Dinov2"])
def test_chain_equals_the_original_to_the_bit(tmp_path: Path, name: str) -> None:
    original = _save(tmp_path, name)
    backbone = build(lookup(f"hf/{tmp_path}"))
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(backbone(images), original(images).logits)
    assert backbone.num_blocks == 4
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)


def test_the_random_control_has_other_weights(tmp_path: Path) -> None:
    _save(tmp_path, "ViT")
    trained, control = (build(lookup(f"hf/{tmp_path}{suffix}")) for suffix in ("", "@random"))
    name = "blocks.1.layer.mlp.fc1.weight"
    assert not torch.equal(trained.get_parameter(name), control.get_parameter(name))


def test_missing_folder_is_named() -> None:
    with pytest.raises(WeightsUnavailable, match=r"there is no folder .*nowhere"):
        build(lookup("hf/./nowhere"))


def test_other_families_are_refused_by_name(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig(hidden_size=32, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(UnknownName, match=r"'bert'; supported are dinov2, vit"):
        build(lookup(f"hf/{tmp_path}"))


def test_the_hub_is_not_asked_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match="HF_HUB_OFFLINE is set"):
        build(lookup("hf/nobody/nothing"))
