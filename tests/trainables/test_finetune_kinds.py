"""The loop on every kind of task, from every start, and on any window of blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from other_kinds import bits, with_targets

from trainables.config import EpochMetrics
from trainables.data import Task
from trainables.errors import DataError, InvalidConfig
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.frozen_features import whole_frozen

CPU = torch.device("cpu")

Make = Callable[..., Finetuner]


def untimed(metrics: EpochMetrics) -> EpochMetrics:
    return replace(metrics, train_s=0.0, eval_s=0.0)


class TestKinds:
    def test_a_regression_is_learnt_and_measured_in_its_own_units(self, make: Make, digits: Task) -> None:
        numbers = with_targets(digits, "regression", ("number",), lambda t: (1000.0 + 100.0 * t)[:, None])
        finetuner = make(numbers, max_epochs=6, head_learning_rate=0.03)
        epochs = list(finetuner.epochs())
        assert epochs[-1].train_loss < 0.7 * epochs[0].train_loss
        assert all(e.val_accuracy is None and e.val_f1_macro is None for e in epochs)
        assert all(e.val_mae is not None and 0 < e.val_mae < 1000 for e in epochs)
        assert [e.val_score for e in epochs] == [e.val_r2 for e in epochs]
        measured = finetuner.measure_test()
        assert measured.example_scores.mean() == pytest.approx(measured.quality.r2, abs=1e-4)

    def test_several_labels_are_learnt(self, make: Make, digits: Task) -> None:
        labels = with_targets(digits, "multilabel", ("1", "2", "4"), bits)
        finetuner = make(labels, max_epochs=6, head_learning_rate=0.03)
        epochs = list(finetuner.epochs())
        assert epochs[-1].train_loss < 0.9 * epochs[0].train_loss
        assert [e.val_score for e in epochs] == [e.val_f1_macro for e in epochs]
        measured = finetuner.measure_test()
        assert measured.example_scores.mean() == pytest.approx(measured.quality.accuracy)
        assert finetuner.backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 3)

    def test_balanced_classes_change_the_loss_that_trains_and_no_metric(self, make: Make, digits: Task) -> None:
        rare = digits.train.targets.clone()
        rare[torch.arange(len(rare)) % 6 != 0] = 0  # most samples are now zeros
        task = replace(digits, train=replace(digits.train, targets=rare))
        still = {"learning_rate": 0.0, "head_learning_rate": 0.0, "max_epochs": 1}
        plain, balanced = (make(task, class_weight=weight, **still).train_epoch() for weight in ("none", "balanced"))
        assert balanced.val_loss == plain.val_loss
        assert balanced.val_f1_macro == plain.val_f1_macro
        moved = [
            make(task, class_weight=weight, max_epochs=1).train_epoch().train_loss for weight in ("none", "balanced")
        ]
        assert moved[0] != moved[1]

    def test_a_regression_has_no_classes_to_balance(self, make: Make, digits: Task) -> None:
        numbers = with_targets(digits, "regression", ("number",), lambda t: t.float()[:, None])
        with pytest.raises(DataError, match="class_weight must be none"):
            make(numbers, class_weight="balanced")


class TestWindow:
    @pytest.mark.parametrize("window", [(0, 1), (3, 6), (13, 14)])
    def test_its_blocks_and_the_head_move_and_nothing_else(self, make: Make, window: tuple[int, int]) -> None:
        finetuner = make(tune_window=window, max_epochs=1, head_learning_rate=0.01)
        before = {name: t.clone() for name, t in finetuner.backbone.state_dict().items()}
        finetuner.train_epoch()
        moved = {name for name, t in finetuner.backbone.state_dict().items() if not torch.equal(before[name], t)}
        assert {int(n.split(".")[1]) for n in moved if n.startswith("blocks")} == set(range(*window))
        assert any(n.startswith("head") for n in moved)
        assert {int(n.split(".")[1]) for n in finetuner.state().part("moving") if n.startswith("blocks")} == set(
            range(*window)
        )

    def test_the_window_to_the_end_is_the_freeze_depth(self, make: Make) -> None:
        a, b = make(tune_window=(9, 14)), make(freeze_depth=9)
        assert [untimed(m) for m in a.epochs()] == [untimed(m) for m in b.epochs()]

    def test_one_beyond_the_backbone_is_refused(self, make: Make) -> None:
        with pytest.raises(InvalidConfig, match=r"tune_window must end in \[4, 14\] .* got \(3, 15\)"):
            make(tune_window=(3, 15))


class TestFittedHead:
    def test_it_starts_where_a_random_head_has_still_to_get(self, make: Make) -> None:
        options = {"freeze_depth": 14, "head_learning_rate": 0.0, "max_epochs": 1}
        fitted, random = (make(head_init=init, **options).train_epoch() for init in ("probe", "random"))
        assert fitted.val_loss < random.val_loss
        assert fitted.train_loss < 0.8 * random.train_loss

    def test_a_resumed_run_does_not_fit_it_again(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        options = {"head_init": "probe", "max_epochs": 3, "stay_near": 0.01}
        expected = [untimed(m) for m in make(**options).epochs()]
        interrupted = make(**options)
        rows = [untimed(interrupted.train_epoch())]
        resumed = make(**options)
        monkeypatch.setattr("trainables.finetune.fit_frozen_head", None)
        resumed.load_state(interrupted.state())
        rows += [untimed(m) for m in resumed.epochs()]
        assert rows == expected

    def test_its_features_are_those_of_the_frozen_backbone_in_order(self, make: Make, digits: Task) -> None:
        finetuner = make(head_init="probe")
        features = whole_frozen(
            finetuner.pretrained, digits, CPU, precision="fp32", execution=Execution(), num_runs=1
        ).of(digits.val)
        prepare = digits.preprocessing.on_device()
        finetuner.backbone.eval()
        with torch.inference_mode():
            samples = [prepare(digits.val.batch(torch.tensor([i]))[0]) for i in range(len(digits.val))]
            one = [finetuner.backbone.features(sample) for sample in samples]
        assert np.allclose(features.numpy(), torch.cat(one).numpy(), atol=1e-5)
