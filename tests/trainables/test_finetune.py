"""The loop: what it reports is what an independent computation gives, and nothing else moves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.backbones import Backbone, build
from trainables.batches import eval_batches
from trainables.catalog import lookup
from trainables.config import EpochMetrics, FinetuneConfig, TaskSpec
from trainables.data import Split, Task, load_task
from trainables.errors import Diverged, FrozenMoved, InvalidConfig
from trainables.finetune import Finetuner
from trainables.objective import Classification
from trainables.preprocessing import ImagePreprocessing
from trainables.state import TrainingState
from trainables.step import TrainStep

NAME = "torchvision/mobilenet_v3_small@random"
TIMES = ("train_s", "eval_s")

Make = Callable[..., Finetuner]


def measured(metrics: EpochMetrics) -> EpochMetrics:
    """Without what the clock says."""
    return replace(metrics, train_s=0.0, eval_s=0.0)


def weights(finetuner: Finetuner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in finetuner.backbone.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def normalised(task: Task, split: Split) -> tuple[Tensor, Tensor]:
    preprocessing = task.preprocessing
    assert isinstance(preprocessing, ImagePreprocessing)
    pixels, targets = split.batch(torch.arange(len(split)))
    assert isinstance(pixels, Tensor)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (preprocessing.mean, preprocessing.std))
    return (pixels.float() / 255 - mean) / std, targets


class TestMeasurement:
    def test_train_loss_is_the_mean_over_samples_of_uneven_batches(self, make: Make, digits: Task) -> None:
        # Nothing moves at a learning rate of 0, and a probe has no batch statistics: the mean over the
        # 33 samples is then independent of how they were batched, and of the last batch above all.
        probe = make(freeze_depth=14, head_learning_rate=0.0, batch_size=7, max_epochs=1)
        probe.backbone.head.eval()
        for module in probe.backbone.head.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        # A fresh head gives every sample the same loss, ln 10: the last batch's would pass for the mean.
        *_, bias = probe.backbone.head.parameters()
        bias.detach().copy_(torch.linspace(-2, 2, 10))
        images, labels = normalised(digits, digits.train)
        with torch.inference_mode():
            losses = cross_entropy(copy.deepcopy(probe.backbone).eval()(images), labels, reduction="none")
        assert losses.std() > 0.1
        assert probe.train_epoch().train_loss == pytest.approx(float(losses.mean()), rel=1e-5)

    def test_validation_is_what_scikit_learn_says_of_the_weights(self, make: Make, digits: Task) -> None:
        finetuner = make(max_epochs=1)
        metrics = finetuner.train_epoch()
        images, labels = normalised(digits, digits.val)
        with torch.inference_mode():
            logits = finetuner.backbone.eval()(images)
        answers = logits.argmax(dim=1)
        assert metrics.val_loss == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-5)
        assert metrics.val_accuracy == accuracy_score(labels, answers)
        assert metrics.val_f1_macro == pytest.approx(f1_score(labels, answers, average="macro"))
        assert metrics.val_score == metrics.val_accuracy

    def test_prediction_does_not_depend_on_the_batch_it_is_made_in(
        self, make: Make, digits: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finetuner = make()
        whole, labels = finetuner.predict(digits.test)
        monkeypatch.setattr("trainables.finetune.eval_batches", lambda split: eval_batches(split, 5))
        parts, _ = finetuner.predict(digits.test)
        assert torch.allclose(whole, parts, atol=1e-5)
        assert whole.shape == (22, 10)
        assert torch.equal(labels, digits.test.targets)

    def test_epochs_and_steps_are_counted_as_completed(self, make: Make) -> None:
        finetuner = make(max_epochs=3)
        rows = list(finetuner.epochs())
        assert [row.epoch for row in rows] == [1, 2, 3]
        assert [row.step for row in rows] == [4, 8, 12]
        assert list(finetuner.epochs()) == []

    def test_the_first_of_equal_epochs_is_the_best(self, make: Make) -> None:
        finetuner = make(learning_rate=0.0, head_learning_rate=0.0, freeze_depth=14, max_epochs=3)
        rows = list(finetuner.epochs())
        assert len({row.val_score for row in rows}) == 1
        assert [row.is_best for row in rows] == [True, False, False]
        assert finetuner.best == rows[0]

    def test_the_best_epoch_is_chosen_by_the_main_metric_of_validation(self, make: Make) -> None:
        finetuner = make(max_epochs=5, head_learning_rate=0.05)
        rows = list(finetuner.epochs())
        best = max(rows, key=lambda row: row.val_score)
        assert finetuner.best == best
        assert [r.is_best for r in rows] == [
            all(r.val_score > earlier.val_score for earlier in rows[:i]) for i, r in enumerate(rows)
        ]

    def test_an_unbalanced_task_is_scored_by_macro_f1(self, make: Make, digits: Task) -> None:
        unbalanced = Classification(num_outputs=10, metric="f1_macro", chance=0.1)
        metrics = make(task=replace(digits, objective=unbalanced), max_epochs=1).train_epoch()
        assert metrics.val_score == metrics.val_f1_macro


class TestTestSplit:
    def test_it_measures_the_best_epoch_and_gives_the_training_state_back(self, make: Make, digits: Task) -> None:
        finetuner = make(max_epochs=4)
        at_best: dict[str, Tensor] = {}
        for metrics in finetuner.epochs():
            if metrics.is_best:
                at_best = weights(finetuner)
        before, state = weights(finetuner), copy.deepcopy(finetuner.state())
        measurement = finetuner.measure_test()
        assert equal(weights(finetuner), before)
        assert equal(finetuner.state().part("moving"), state.part("moving"))
        finetuner.backbone.load_state_dict(at_best)
        logits, labels = finetuner.predict(digits.test)
        assert measurement.quality.accuracy == accuracy_score(labels, logits.argmax(dim=1))
        assert measurement.quality.loss == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-6)

    def test_measuring_changes_nothing_of_what_follows(self, make: Make) -> None:
        plain, measuring = make(max_epochs=3), make(max_epochs=3)
        expected = [measured(m) for m in plain.epochs()]
        rows = []
        for metrics in measuring.epochs():
            rows.append(measured(metrics))
            measuring.measure_test()
        assert rows == expected
        assert equal(weights(plain), weights(measuring))

    def test_the_scores_of_the_samples_are_those_of_the_accuracy(self, make: Make) -> None:
        finetuner = make(max_epochs=2, head_learning_rate=0.05)
        list(finetuner.epochs())
        measurement = finetuner.measure_test()
        assert measurement.num_test == 22
        assert set(measurement.example_scores) == {0.0, 1.0}
        assert measurement.example_scores.mean() == pytest.approx(measurement.quality.accuracy)

    def test_it_needs_a_completed_epoch(self, make: Make) -> None:
        with pytest.raises(ValueError, match="at least one completed epoch"):
            make().measure_test()


class TestDeterminism:
    def test_a_run_is_the_same_whatever_ran_before_it(self, make: Make) -> None:
        first = make()
        expected = [measured(m) for m in first.epochs()]
        torch.manual_seed(1234)
        np.random.seed(5)
        torch.rand(7)
        list(make(seed=9, batch_size=5, max_epochs=1).epochs())
        second = make()
        rows = []
        for metrics in second.epochs():
            rows.append(measured(metrics))
            torch.rand(3)
        assert rows == expected
        assert equal(weights(first), weights(second))

    def test_the_global_generator_is_left_alone(self, make: Make) -> None:
        torch.manual_seed(42)
        before = torch.get_rng_state()
        finetuner = make(max_epochs=1)
        list(finetuner.epochs())
        finetuner.measure_test()
        assert torch.equal(torch.get_rng_state(), before)

    def test_another_seed_is_another_run(self, make: Make) -> None:
        assert not equal(weights(make(seed=0)), weights(make(seed=1)))
        a, b = (make(seed=seed, max_epochs=1).train_epoch() for seed in (0, 1))
        assert a.train_loss != b.train_loss

    def test_every_epoch_has_an_order_of_its_own(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[list[int]] = []
        batch = Split.batch

        def record(split: Split, positions: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(positions.tolist())
            return batch(split, positions)

        finetuner = make(batch_size=33)
        monkeypatch.setattr(Split, "batch", record)
        list(finetuner.epochs())
        passes = [rows for rows in seen if len(rows) == 33]
        assert len(passes) == 2
        assert passes[0] != passes[1]
        assert sorted(passes[0]) == sorted(passes[1]) == list(range(33))

    def test_the_pretrained_backbone_is_not_changed(self, make: Make, small: Backbone) -> None:
        before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
        list(make(max_epochs=1).epochs())
        assert equal(dict(small.state_dict()), before)
        assert small.frozen == frozenset()
        assert not small.training


class TestResume:
    """In another process: `tests/trainables/test_checkpoint.py`."""

    def test_a_state_is_copied_by_the_run_that_loads_it(self, make: Make) -> None:
        options = {"max_epochs": 3, "head_learning_rate": 0.05}
        expected = [measured(m) for m in make(**options).epochs()]
        first, second = make(**options), make(**options)
        rows = [measured(first.train_epoch())]
        second.load_state(first.state())
        list(first.epochs())
        assert first.epoch == 3
        rows += [measured(m) for m in second.epochs()]
        assert rows == expected
        assert second.measure_test().quality == first.measure_test().quality

    def test_other_frozen_weights_than_at_the_start_are_refused(self, make: Make) -> None:
        first, second = make(freeze_depth=3), make(freeze_depth=4)
        first.train_epoch()
        with pytest.raises(FrozenMoved, match="4 frozen blocks of torchvision/mobilenet_v3_small@random differ"):
            second.load_state(first.state())

    def test_tensors_of_another_run_are_refused_and_nothing_is_loaded(self, make: Make) -> None:
        first, second = make(), make()
        first.train_epoch()
        before, state = weights(second), first.state()
        bias = next(name for name in state.tensors if name.startswith("moving.head") and name.endswith("bias"))
        wrong = {
            bias: (torch.zeros(11), torch.zeros(state.tensors[bias].shape, dtype=torch.float64)),
            "optimizer.0.exp_avg": (torch.zeros(5),),
            "optimizer.9999.exp_avg": (torch.zeros(()),),
            "moving.head.other": (torch.zeros(10),),
        }
        for name, tensor in [(name, tensor) for name, tensors in wrong.items() for tensor in tensors]:
            with pytest.raises(ValueError, match=name.removeprefix("moving.")):
                second.load_state(TrainingState(tensors={**state.tensors, name: tensor}, values=state.values))
            assert second.epoch == second.step == 0
            assert second.best is None
            assert equal(weights(second), before)


class TestFreezing:
    def test_a_probe_moves_no_norm_statistic(self, make: Make) -> None:
        probe = make(freeze_depth=14, head_learning_rate=0.05)
        before = weights(probe)
        list(probe.epochs())
        after = weights(probe)
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        assert changed == {name for name in after if name.startswith("head.")}

    @pytest.mark.parametrize("freeze_depth", [0, 1, 7, 13])
    def test_frozen_blocks_stay_and_tuned_ones_move(self, make: Make, freeze_depth: int) -> None:
        finetuner = make(freeze_depth=freeze_depth, max_epochs=1)
        before = weights(finetuner)
        finetuner.train_epoch()
        after = weights(finetuner)
        moved = {
            int(n.split(".")[1]) for n in after if n.startswith("blocks.") and not torch.equal(before[n], after[n])
        }
        assert moved == set(range(freeze_depth, 14))

    def test_a_moved_tensor_fails_the_epoch(self, make: Make) -> None:
        finetuner = make(freeze_depth=5)
        finetuner.train_epoch()
        dict(finetuner.backbone.blocks[2].named_buffers()).popitem()[1].add_(1)
        with pytest.raises(FrozenMoved, match=f"a tensor in the 5 frozen blocks of {NAME} changed in epoch 2"):
            finetuner.train_epoch()

    def test_too_deep_is_refused_with_the_number_of_blocks(self, make: Make) -> None:
        with pytest.raises(InvalidConfig, match=r"in \[0, 14\] for .*mobilenet_v3_small.* has 14 blocks; got 15"):
            make(freeze_depth=15)

    def test_what_trains_is_counted(self, make: Make) -> None:
        probe, full = make(freeze_depth=14), make()
        assert full.num_params_trainable == full.num_params == probe.num_params
        assert probe.num_params_trainable == sum(p.numel() for p in probe.backbone.head.parameters())


class TestDivergence:
    def test_an_absurd_learning_rate(self, make: Make) -> None:
        with pytest.raises(Diverged, match=r"loss is (nan|inf) in epoch \d"):
            list(make(learning_rate=1e30, head_learning_rate=1e30, max_epochs=3).epochs())

    def test_a_weight_that_is_no_number(self, make: Make) -> None:
        finetuner = make(freeze_depth=14)
        next(finetuner.backbone.head.parameters()).detach().fill_(math.nan)
        with pytest.raises(Diverged, match="train loss is nan in epoch 1"):
            finetuner.train_epoch()

    def test_validation_alone(self, make: Make) -> None:
        finetuner = make(max_epochs=1)
        dict(finetuner.backbone.named_buffers())["blocks.0.features.0.1.running_var"].fill_(math.nan)
        with pytest.raises(Diverged, match="validation loss is nan in epoch 1"):
            finetuner.train_epoch()


class TestBatches:
    def test_a_single_sample_left_over_joins_the_batch_before_it(self, make: Make) -> None:
        # At 32 px the last maps are 1 x 1: BatchNorm raises on one sample of them.
        finetuner = make(batch_size=8)
        assert finetuner.steps_per_epoch == 4
        assert finetuner.train_epoch().step == 4

    @pytest.mark.parametrize(
        ("batch_size", "sizes"),
        [
            (8, [8, 8, 8, 9]),
            (10, [10, 10, 10, 3]),
            (11, [11] * 3),
            (32, [33]),
            (64, [33]),
            (2, [2] * 15 + [3]),
        ],
    )
    def test_all_other_batches_are_as_asked(
        self, make: Make, monkeypatch: pytest.MonkeyPatch, batch_size: int, sizes: list[int]
    ) -> None:
        finetuner, seen = make(batch_size=batch_size, max_epochs=1), []
        step = TrainStep.__call__
        monkeypatch.setattr(TrainStep, "__call__", lambda self, x, y: (seen.append(len(x)), step(self, x, y))[1])
        finetuner.train_epoch()
        assert seen == sizes
        assert finetuner.steps_per_epoch == len(sizes)


class TestPrecision:
    def test_bf16_runs_on_the_cpu_and_keeps_parameters_in_fp32(self, make: Make) -> None:
        finetuner = make(precision="bf16", max_epochs=1)
        metrics = finetuner.train_epoch()
        assert math.isfinite(metrics.train_loss)
        assert {p.dtype for p in finetuner.backbone.parameters()} == {torch.float32}

    def test_auto_is_fp32_on_the_cpu(self, make: Make) -> None:
        auto, fp32 = (make(precision=p, max_epochs=1).train_epoch() for p in ("auto", "fp32"))
        assert measured(auto) == measured(fp32)
        assert make(precision="bf16", max_epochs=1).train_epoch().train_loss != fp32.train_loss


class TestImageSize:
    def test_a_size_the_architecture_cannot_take_is_refused_before_training(self, preprocessing: Any) -> None:
        task = load_task(TaskSpec(name="t", image_size=32), preprocessing)
        name = "timm/vit_tiny_patch16_224@random"
        with pytest.raises(InvalidConfig, match=r"cannot take images of 32 px \(.*\); its own size is 224"):
            Finetuner(FinetuneConfig(backbone=name), build(lookup(name)), task)
