"""Probes trained together are the probes that `Finetuner` trains one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables import probe_capacity as capacity
from trainables.backbones import Backbone
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.data import Split, Task
from trainables.errors import Diverged, FrozenMoved, InvalidConfig
from trainables.execution import Execution
from trainables.finetune import Finetuner, TestMeasurement
from trainables.objective import make_objective
from trainables.prefix import Prefix
from trainables.probe_capacity import probe_capacity
from trainables.probe_group import MAX_TOGETHER, is_probe, probe_group
from trainables.probes import ProbeGroup, ProbeRun

CPU = torch.device("cpu")
MAX_EPOCHS = 3
MEMBERS: tuple[dict[str, Any], ...] = (
    {"seed": 0, "head_learning_rate": 1e-2, "weight_decay": 1e-2, "schedule": "cosine"},
    {"seed": 1, "head_learning_rate": 1e-1, "weight_decay": 0.0, "schedule": "step", "warmup_frac": 0.4},
    {"seed": 2**31, "head_learning_rate": 1e-3, "weight_decay": 1.0, "schedule": "constant", "warmup_frac": 0.0},
    {"seed": 0, "head_learning_rate": 3e-2, "weight_decay": 1e-2, "schedule": "cosine"},
)
HEADS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(24, 7),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.3, inplace=True), nn.Linear(24, 7)),
    "layers": lambda: nn.Sequential(
        nn.LayerNorm(24), nn.Dropout(0.1), nn.Linear(24, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 7)
    ),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 2, 2)), nn.Dropout(0.5), nn.Conv2d(6, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}


class Features(nn.Module):
    """Numbers of order one that tell the digits apart."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 3 * 64, generator=torch.Generator().manual_seed(seed)) / 14)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(nn.functional.adaptive_avg_pool2d(x, 8).flatten(1) @ self.weight.T) + 0.1


@pytest.fixture
def with_head(small: Backbone) -> Callable[[nn.Module], Backbone]:
    """A backbone of one block with this head."""

    def with_head(head: nn.Module) -> Backbone:
        return Backbone(small.spec, [Features()], head, small.preprocessing)

    return with_head


def configs(backbone: Backbone, members: tuple[dict[str, Any], ...] = MEMBERS, **shared: Any) -> list[FinetuneConfig]:
    base = {"backbone": backbone.spec.name, "freeze_depth": backbone.num_blocks, "batch_size": 8}
    return [FinetuneConfig(**{**base, "max_epochs": MAX_EPOCHS, **shared, **member}) for member in members]


def require_equal(epoch: EpochMetrics, alone: EpochMetrics) -> None:
    for name in ("epoch", "step", "is_best"):
        assert getattr(epoch, name) == getattr(alone, name), name
    for name in ("train_loss", "val_loss", "val_accuracy", "val_f1_macro", "val_r2", "val_mae", "val_score"):
        expected = getattr(alone, name)
        assert getattr(epoch, name) == (None if expected is None else pytest.approx(expected, rel=2e-5, abs=1e-6)), name


def require_equal_tests(measured: TestMeasurement, alone: TestMeasurement) -> None:
    assert np.allclose(measured.example_scores, alone.example_scores, atol=1e-4)
    assert measured.quality.loss == pytest.approx(alone.quality.loss, rel=2e-5)


def require_equal_runs(run: ProbeRun, alone: Finetuner) -> None:
    losses = []
    for _ in range(alone.config.max_epochs):
        epoch, expected = run.train_epoch(), alone.train_epoch()
        require_equal(epoch, expected)
        losses.append(expected.train_loss)
        assert run.best is not None
        assert alone.best is not None
        require_equal(run.best, alone.best)
        require_equal_tests(run.measure_test(), alone.measure_test())
    assert len(set(losses)) == len(losses), "the test shows nothing"
    assert run.epoch == alone.epoch
    assert run.frozen_digest == alone.frozen_digest
    assert (run.num_params, run.num_params_trainable) == (alone.num_params, alone.num_params_trainable)
    assert run.backbone.num_blocks == alone.backbone.num_blocks


def compare(backbone: Backbone, task: Task, members: list[FinetuneConfig]) -> None:
    group = ProbeGroup(members, backbone, task, CPU)
    for config in members:
        require_equal_runs(group.run(config), Finetuner(config, backbone, task, CPU))


def with_targets(task: Task, kind: Any, num_outputs: int, of: Callable[[Tensor], Tensor]) -> Task:
    def mapped(split: Split) -> Split:
        return replace(split, targets=of(split.targets))

    train, val, test = map(mapped, (task.train, task.val, task.test))
    objective = make_objective(kind, num_outputs, train.targets, test.targets)
    return replace(task, train=train, val=val, test=test, objective=objective)


def as_numbers(task: Task) -> Task:
    return with_targets(task, "regression", 2, lambda t: torch.stack([1000 + 100.0 * t, 3 - t.float()], dim=1))


def as_labels(task: Task) -> Task:
    return with_targets(task, "multilabel", 3, lambda t: ((t[:, None] >> torch.arange(3)) & 1).float())


def as_classes(task: Task) -> Task:
    return task


class TestEqualToOneByOne:
    @pytest.mark.parametrize("head", HEADS)
    @pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
    def test_optimizers_schedules_seeds_and_heads(
        self, with_head: Callable[..., Backbone], digits: Task, optimizer: str, head: str
    ) -> None:
        backbone = with_head(HEADS[head]())
        compare(backbone, digits, configs(backbone, optimizer=optimizer))

    @pytest.mark.parametrize("kind", [as_classes, as_labels, as_numbers])
    @pytest.mark.parametrize("head_init", ["random", "probe"])
    @pytest.mark.parametrize("class_weight", ["none", "balanced"])
    def test_kinds_of_tasks_weights_of_classes_and_fitted_heads(
        self, with_head: Callable[..., Backbone], digits: Task, kind: Any, head_init: str, class_weight: str
    ) -> None:
        if kind is as_numbers and class_weight == "balanced":
            pytest.skip("a regression has no classes")
        backbone = with_head(HEADS["dropout"]())
        compare(backbone, kind(digits), configs(backbone, MEMBERS[:2], head_init=head_init, class_weight=class_weight))

    def test_the_backbone_of_a_library(self, small: Backbone, digits: Task) -> None:
        compare(small, digits, configs(small, MEMBERS[:2]))

    def test_bf16(self, with_head: Callable[..., Backbone], digits: Task) -> None:
        """Its outputs have three digits; the last of them may fall either way."""
        backbone = with_head(HEADS["dropout"]())
        members = configs(backbone, precision="bf16")
        group = ProbeGroup(members, backbone, digits, CPU)
        exact = ProbeGroup(configs(backbone), backbone, digits, CPU)
        for config, other in zip(members, exact.members, strict=True):
            run, alone = group.run(config), Finetuner(config, backbone, digits, CPU)
            for _ in range(MAX_EPOCHS):
                epoch, expected = run.train_epoch(), alone.train_epoch()
                assert epoch.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
                assert epoch.val_loss == pytest.approx(expected.val_loss, rel=1e-3)
                assert epoch.train_loss != other.train_epoch().train_loss, "the test shows nothing"

    def test_more_members_than_one_group_of_random_configurations(
        self, with_head: Callable[..., Backbone], digits: Task
    ) -> None:
        rng = np.random.default_rng(0)
        drawn = tuple(
            {
                "seed": int(rng.integers(2**31)),
                "head_learning_rate": float(10 ** rng.uniform(-4, -0.5)),
                "weight_decay": float(10 ** rng.uniform(-4, 0)),
                "warmup_frac": float(rng.uniform(0, 0.9)),
                "schedule": str(rng.choice(["cosine", "constant", "step"])),
            }
            for _ in range(12)
        )
        backbone = with_head(HEADS["dropout"]())
        compare(backbone, digits, configs(backbone, drawn, max_epochs=2))


@dataclass(frozen=True)
class Sequences:
    """Of unequal lengths: ``(values, mask)``, padded to the longest of a batch."""

    values: Tensor
    lengths: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return self.values[rows, : mask.shape[1]] * mask, mask.long()

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Plain:
    """A preprocessing that leaves everything as it is."""

    modality: str = "text"

    def on_device(self) -> nn.Module:
        return nn.Identity()


class Mean(nn.Module):
    """Pools a sequence, or only transforms it."""

    def __init__(self, pool: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, generator=torch.Generator().manual_seed(0)))
        self.pool = pool

    def forward(self, state: tuple[Tensor, Tensor]) -> Tensor:
        values, mask = state
        hidden = torch.tanh(values[..., None] * self.weight)
        return hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True) if self.pool else hidden


@pytest.fixture
def sequences(digits: Task) -> Task:
    """61 to train on: a batch of 8 leaves five over, which come at another step in every order."""
    generator = torch.Generator().manual_seed(0)
    samples = Sequences(torch.randn(100, 9, generator=generator), torch.randint(1, 10, (100,), generator=generator))
    targets = (samples.values[:, 0] > 0).long()

    def split(rows: Tensor) -> Split:
        return Split(samples=samples, rows=rows, targets=targets[rows])  # type: ignore[arg-type]

    train, val, test = (split(torch.arange(a, b)) for a, b in ((0, 61), (61, 80), (80, 100)))
    objective = make_objective("classification", 2, train.targets, test.targets)
    return replace(
        digits,
        preprocessing=Plain(),  # type: ignore[arg-type]
        train=train,
        val=val,
        test=test,
        objective=objective,
        digest="0" * 64,
    )


def of_sequences(small: Backbone, pool: bool) -> Backbone:
    head = HEADS["dropout"]() if pool else nn.Sequential(nn.AdaptiveAvgPool2d((1, 24)), nn.Flatten(), nn.Linear(24, 2))
    return Backbone(small.spec, [Mean(pool)], head, Plain())  # type: ignore[arg-type]


class TestSequences:
    def test_the_smaller_batch_comes_at_another_step_for_each_member(self, small: Backbone, sequences: Task) -> None:
        backbone = of_sequences(small, pool=True)
        members = configs(backbone)
        assert probe_capacity(members[0], backbone, sequences, Execution()) == MAX_TOGETHER
        compare(backbone, sequences, members)

    def test_sequences_that_are_not_pooled_are_trained_alone(self, small: Backbone, sequences: Task) -> None:
        backbone = of_sequences(small, pool=False)
        assert probe_capacity(configs(backbone)[0], backbone, sequences, Execution()) == 0


class TestDivergence:
    def test_it_concerns_one_member_alone(self, with_head: Callable[..., Backbone], digits: Task) -> None:
        backbone = with_head(HEADS["dropout"]())
        bad = {"seed": 5, "head_learning_rate": 1e30}
        members = configs(backbone, (MEMBERS[0], bad, *MEMBERS[1:]), optimizer="sgd", batch_size=16)
        group = ProbeGroup(members, backbone, digits, CPU)
        for config in (members[0], *members[2:]):
            require_equal_runs(group.run(config), Finetuner(config, backbone, digits, CPU))
        run, alone = group.run(members[1]), Finetuner(members[1], backbone, digits, CPU)
        with pytest.raises(Diverged) as expected:
            alone.train_epoch()
        for _ in range(2):
            with pytest.raises(Diverged, match=str(expected.value)):
                run.train_epoch()
        assert (run.epoch, run.best) == (0, None)
        with pytest.raises(ValueError, match="at least one completed epoch"):
            run.measure_test()


@pytest.fixture
def group(with_head: Callable[..., Backbone], digits: Task) -> ProbeGroup:
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
        self, group: ProbeGroup, digits: Task, with_head: Callable[..., Backbone]
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

    def test_equal_configurations_share_a_run(self, with_head: Callable[..., Backbone], digits: Task) -> None:
        backbone = with_head(nn.Linear(24, 7))
        members = configs(backbone)
        group = ProbeGroup([*members, members[0]], backbone, digits, CPU)
        assert group.configs == tuple(members)
        with pytest.raises(KeyError):
            group.run(replace(members[0], seed=77))

    def test_nothing_outside_is_changed(self, with_head: Callable[..., Backbone], digits: Task) -> None:
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

    def test_a_frozen_tensor_that_moves_is_found(self, with_head: Callable[..., Backbone], digits: Task) -> None:
        class Moving(Features):
            def forward(self, x: Tensor) -> Tensor:
                with torch.no_grad():
                    self.weight[0, 0] += 1.0
                return super().forward(x)

        backbone = with_head(nn.Linear(24, 7))
        backbone.blocks[0] = Moving(seed=1)  # nobody has kept activations of these weights
        with pytest.raises(FrozenMoved, match="changed while its features were computed"):
            ProbeGroup(configs(backbone), backbone, digits, CPU).members[0].train_epoch()

    def test_what_cannot_be_together_is_refused(self, with_head: Callable[..., Backbone], digits: Task) -> None:
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
    def test_plain_heads_are_trained_together(
        self, with_head: Callable[..., Backbone], digits: Task, head: str
    ) -> None:
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
    def test_other_heads_are_trained_alone(
        self, with_head: Callable[..., Backbone], digits: Task, head: nn.Module
    ) -> None:
        backbone = with_head(head)
        assert probe_capacity(configs(backbone)[0], backbone, digits, Execution()) == 0

    def test_what_is_no_probe_or_shall_not_be_kept(self, with_head: Callable[..., Backbone], digits: Task) -> None:
        backbone = with_head(nn.Linear(24, 7))
        config = configs(backbone)[0]
        for execution in (Execution(activation_cache="off"), Execution(micro_batch_size=4)):
            assert probe_capacity(config, backbone, digits, execution) == 0
        assert probe_capacity(replace(config, freeze_depth=0), backbone, digits, Execution()) == 0
        assert probe_capacity(replace(config, augmentation="flip"), backbone, digits, Execution()) == 0

    def test_memory_is_bounded(
        self, with_head: Callable[..., Backbone], digits: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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


@pytest.fixture(autouse=True)
def _no_gradients_left(small: Backbone) -> Iterator[None]:
    yield
    assert all(p.grad is None for p in small.parameters())
