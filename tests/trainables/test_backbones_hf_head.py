"""The head of a transformers checkpoint is made new as a whole, by its seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hf_checkpoints import TEXTS

from trainables.backbones import Backbone, build, replace_head
from trainables.catalog import lookup
from trainables.errors import InvalidConfig


def test_every_layer_of_a_head_is_made_new_by_the_seed(tmp_path: Path) -> None:
    TEXTS["roberta"].save(tmp_path)
    heads = []
    for seed in (0, 0, 1):
        backbone = build(lookup(f"hf/{tmp_path}"))
        torch.rand(3)
        before = torch.random.get_rng_state()
        replace_head(backbone, 1, seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        heads.append(dict(backbone.head.named_parameters()))
    for name in ("classifier.dense.weight", "classifier.out_proj.weight"):
        assert torch.equal(heads[0][name], heads[1][name])
        assert not torch.equal(heads[0][name], heads[2][name])
    assert heads[0]["classifier.dense.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    assert heads[0]["classifier.out_proj.weight"].shape == (1, 32)
    assert heads[0]["classifier.dense.bias"].abs().sum() == 0


def test_a_head_of_several_classifiers_names_them() -> None:
    from trainables.preprocessing import ImagePreprocessing

    class Twins(torch.nn.Module):
        classifiers = ("left", "right")

        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(4)
            self.left, self.right = torch.nn.Linear(4, 5), torch.nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.norm(x)
            return (self.left(x) + self.right(x)) / 2

    preprocessing = ImagePreprocessing(
        input_size=1, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", crop_frac=1
    )
    head = Twins()
    head.norm.running_mean.fill_(3.0)
    backbone = Backbone(lookup("hf/x"), [torch.nn.Linear(4, 4)], head, preprocessing).eval()
    replace_head(backbone, 2, 0)
    assert backbone(torch.ones(3, 4)).shape == (3, 2)
    assert not torch.equal(head.left.weight, head.right.weight)
    assert head.norm.running_mean.abs().sum() == 0
    assert not any(module.training for module in backbone.modules())
    head.classifiers = ("middle",)
    with pytest.raises(InvalidConfig, match="middle"):
        replace_head(backbone, 2, 0)
