"""Which probes are trained together, and how many."""

from __future__ import annotations

from dataclasses import replace

import pytest
from probe_scenes import (
    HEADS,
    MAX_EPOCHS,
    configs,
    with_head,
)
from torch import Tensor, nn

from trainables import probe_capacity as capacity
from trainables.data import Task
from trainables.execution import Execution
from trainables.probe_capacity import probe_capacity
from trainables.probe_group import MAX_TOGETHER


class Random(nn.Module):
    """Draws by itself, as timm's `F.dropout` does."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(nn.functional.dropout(x, 0.5, self.training))
        return outputs


class Branching(nn.Module):
    """Looks at its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(x if x.sum() > 0 else -x)
        return outputs


class TestCapacity:
    @pytest.mark.parametrize("head", HEADS)
    def test_plain_heads_are_trained_together(self, digits: Task, head: str) -> None:
        backbone = with_head(HEADS[head]())
        assert probe_capacity(configs(backbone)[0], backbone, digits, Execution()) == MAX_TOGETHER

    @pytest.mark.parametrize(
        "head",
        [
            nn.Sequential(nn.BatchNorm1d(24), nn.Linear(24, 7)),
            Random(),
            nn.Sequential(nn.AlphaDropout(0.5), nn.Linear(24, 7)),
            Branching(),
        ],
        ids=["statistics", "draws", "other dropout", "branches"],
    )
    def test_other_heads_are_trained_alone(self, digits: Task, head: nn.Module) -> None:
        backbone = with_head(head)
        assert probe_capacity(configs(backbone)[0], backbone, digits, Execution()) == 0

    def test_what_is_no_probe_or_shall_not_be_kept(self, digits: Task) -> None:
        backbone = with_head(nn.Linear(24, 7))
        config = configs(backbone)[0]
        for execution in (Execution(activation_cache="off"), Execution(micro_batch_size=4)):
            assert probe_capacity(config, backbone, digits, execution) == 0
        assert probe_capacity(replace(config, freeze_depth=0), backbone, digits, Execution()) == 0
        assert probe_capacity(replace(config, augmentation="flip"), backbone, digits, Execution()) == 0

    def test_memory_is_bounded(self, digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        backbone = with_head(nn.Linear(24, 7))
        config = configs(backbone)[0]
        head = (24 * 10 + 10) * 4
        member = (6 + MAX_EPOCHS) * head + 2 * 8 * 24 * 4
        for room, expected in ((5 * member, 5), (2 * member, 2), (2 * member - 1, 0)):
            monkeypatch.setattr(capacity, "MAX_MEMBER_BYTES", room)
            assert probe_capacity(config, backbone, digits, Execution()) == expected
        monkeypatch.undo()
        monkeypatch.setattr(capacity, "MAX_FEATURE_BYTES", 75 * 24 * 4 - 1)
        assert probe_capacity(config, backbone, digits, Execution()) == 0
