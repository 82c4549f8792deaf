"""A group of probes trains when it is asked, once for all, and leaves everything else alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from probe_scenes import (
    CPU,
    HEADS,
    MAX_EPOCHS,
    MEMBERS,
    Features,
    configs,
    require_equal,
    require_equal_tests,
    with_head,
)
from torch import Tensor, nn

from trainables.config import FinetuneConfig
from trainables.data import Split, Task
from trainables.errors import FrozenMoved, InvalidConfig
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.prefix import Prefix
from trainables.probe_capacity import probe_capacity
from trainables.probe_group import is_probe, probe_group
from trainables.probes import ProbeGroup


@pytest.fixture
def group(digits: Task) -> ProbeGroup:
    backbone = with_head(HEADS["dropout"]())
    return ProbeGroup(configs(backbone), backbone, digits, CPU)


class TestGroup:
    def test_features_of_every_sample_are_asked_for_once(
        self, group: ProbeGroup, digits: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Tensor] = []
        batch = Prefix.batch

        def noted(self: Prefix, split: Split, positions: Tensor) -> Any:
            asked.append(positions)
            return batch(self, split, positions)

        monkeypatch.setattr(Prefix, "batch", noted)
        for run in group.members:
            for _ in range(MAX_EPOCHS):
                run.train_epoch()
            run.measure_test()
        # Dropout looks at one batch of each of the two sizes besides.
        expected = [len(digits.train), len(digits.val), len(digits.test), 8, 9]
        assert sorted(map(len, asked)) == sorted(expected)

    def test_an_epoch_is_trained_when_the_first_member_asks(
        self, group: ProbeGroup, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        advances: list[int] = []
        advance = group._advance

        def counted() -> None:
            advances.append(1)
            advance()

        monkeypatch.setattr(group, "_advance", counted)
        first, second, *_ = group.members
        assert advances == []
        first.train_epoch()
        second.train_epoch()
        assert len(advances) == 1
        second.train_epoch()
        first.train_epoch()
        assert len(advances) == 2

    def test_a_member_that_lags_behind_is_measured_at_its_own_epoch(
        self,
        group: ProbeGroup,
        digits: Task,
    ) -> None:
        config = group.configs[0]
        for run in group.members:
            for _ in range(MAX_EPOCHS):
                run.train_epoch()
        late, alone = group.run(config), Finetuner(config, with_head(HEADS["dropout"]()), digits, CPU)
        for _ in range(MAX_EPOCHS):
            require_equal(late.train_epoch(), alone.train_epoch())
            require_equal_tests(late.measure_test(), alone.measure_test())

    def test_seconds_are_shared_alike(self, group: ProbeGroup) -> None:
        epochs = [run.train_epoch() for run in group.members]
        assert len({(epoch.train_s, epoch.eval_s) for epoch in epochs}) == 1
        assert epochs[0].train_s > 0
        assert epochs[0].eval_s > 0

    def test_it_lets_go_of_what_trains_when_all_epochs_are_trained(self, group: ProbeGroup) -> None:
        run = group.members[0]
        run.train_epoch()
        head, features = (24 * 10 + 10) * 4, (33 + 20) * 24 * 4
        num = len(MEMBERS)
        assert group.num_bytes == num * head + features + 3 * num * head  # best ones, and trained with two moments
        for _ in range(MAX_EPOCHS - 1):
            run.train_epoch()
        assert num * head <= group.num_bytes <= MAX_EPOCHS * num * head
        with pytest.raises(ValueError, match="all 3 epochs have been trained"):
            run.train_epoch()

    def test_equal_configurations_share_a_run(self, digits: Task) -> None:
        backbone = with_head(nn.Linear(24, 7))
        members = configs(backbone)
        group = ProbeGroup([*members, members[0]], backbone, digits, CPU)
        assert group.configs == tuple(members)
        with pytest.raises(KeyError):
            group.run(replace(members[0], seed=77))

    def test_nothing_outside_is_changed(self, digits: Task) -> None:
        backbone = with_head(HEADS["layers"]())
        before, state = copy.deepcopy(backbone.state_dict()), torch.get_rng_state()
        grads = [p.requires_grad for p in backbone.parameters()]
        probe_capacity(configs(backbone)[0], backbone, digits, Execution())
        run = ProbeGroup(configs(backbone), backbone, digits, CPU).members[0]
        run.train_epoch()
        run.measure_test()
        after = backbone.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert [p.requires_grad for p in backbone.parameters()] == grads
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_frozen_tensor_that_moves_is_found(self, digits: Task) -> None:
        class Moving(Features):
            def forward(self, x: Tensor) -> Tensor:
                with torch.no_grad():
                    self.weight[0, 0] += 1.0
                return super().forward(x)

        backbone = with_head(nn.Linear(24, 7))
        backbone.blocks[0] = Moving(seed=1)  # nobody has kept activations of these weights
        with pytest.raises(FrozenMoved, match="changed while its features were computed"):
            ProbeGroup(configs(backbone), backbone, digits, CPU).members[0].train_epoch()

    def test_what_cannot_be_together_is_refused(self, digits: Task) -> None:
        backbone = with_head(nn.Linear(24, 7))
        one, other, *_ = configs(backbone)
        for wrong in ([one, replace(other, batch_size=9)], []):
            with pytest.raises(ValueError, match="one value of probe_group"):
                ProbeGroup(wrong, backbone, digits, CPU)
        with pytest.raises(InvalidConfig, match="freeze_depth 1"):
            ProbeGroup([replace(one, freeze_depth=0)], backbone, digits, CPU)


SHARED = {
    "backbone": "other",
    "freeze_depth": 3,
    "batch_size": 9,
    "max_epochs": 7,
    "optimizer": "sgd",
    "class_weight": "balanced",
    "precision": "bf16",
    "head_init": "probe",
}
OWN = {
    "learning_rate": 0.5,
    "head_learning_rate": 0.5,
    "weight_decay": 0.5,
    "layer_decay": 0.5,
    "stay_near": 0.5,
    "schedule": "step",
    "warmup_frac": 0.5,
    "seed": 5,
}


def test_every_field_is_shared_or_a_members_own_or_makes_it_no_probe() -> None:
    config = FinetuneConfig(backbone="any", freeze_depth=4)
    assert all(probe_group(replace(config, **{name: value})) != probe_group(config) for name, value in SHARED.items())
    assert all(probe_group(replace(config, **{name: value})) == probe_group(config) for name, value in OWN.items())
    assert is_probe(config, 4)
    no_probes = {"tune_window": (1, 2), "augmentation": "flip"}
    for name, value in no_probes.items():
        changed = {"freeze_depth": 0} if name == "tune_window" else {}
        assert not is_probe(replace(config, **{name: value}, **changed), 4)
    assert not is_probe(config, 5)
    concerns_augmentation = {"augment_views"}
    fields = set(FinetuneConfig.__dataclass_fields__)
    assert fields == SHARED.keys() | OWN.keys() | no_probes.keys() | concerns_augmentation
