"""Calibration against hand-computed cases, scikit-learn, and simulated answers whose probabilities are true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from other_kinds import bits, with_targets
from sklearn import metrics
from torch import Tensor

from trainables.data import Task
from trainables.evaluate import Evaluation, Findings, Subject, calibration
from trainables.evaluate.calibration import (
    NUM_BINS,
    Bins,
    brier_score,
    debiased_square,
    expected_calibration_error,
    fit_temperature,
)
from trainables.evaluate.probability import FLOOR, example_losses, probabilities
from trainables.objective import Objective, make_objective

Floats = npt.NDArray[np.float64]


def of_classes(num: int) -> Objective:
    labels = torch.arange(num)
    return make_objective("classification", num, labels, labels)


def of_labels(num: int) -> Objective:
    labels = torch.eye(num)
    return make_objective("multilabel", num, labels, labels)


def draw_classes(num: int, seed: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits of three classes and labels drawn with the probabilities that they give; then logits `scale` as large."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return scale * logits, labels


class TestExpectedCalibrationError:
    def test_of_one_bin(self) -> None:
        """Equal confidences share a bin: 0.9 said, 50 of 100 right."""
        right = np.arange(100) < 50
        expected = (0.9 - 0.5) ** 2 - 0.5 * 0.5 / 99
        assert debiased_square(Bins.of(np.full(100, 0.9), right)) == pytest.approx(expected)
        assert expected_calibration_error(np.full(100, 0.9), right) == pytest.approx(np.sqrt(expected))

    def test_of_fifteen_bins_by_hand(self) -> None:
        """Three answers a bin: of bin b the first b % 4 are right, at most three."""
        confidence = np.repeat(np.linspace(0.3, 0.98, NUM_BINS), 3) + np.tile([0, 0.001, 0.002], NUM_BINS)
        right = np.concatenate([np.arange(3) < b % 4 for b in range(NUM_BINS)])
        total = 0.0
        for b in range(NUM_BINS):
            said, share = 0.3 + b * 0.68 / 14 + 0.001, min(b % 4, 3) / 3
            total += 3 / 45 * ((said - share) ** 2 - share * (1 - share) / 2)
        order = np.random.default_rng(0).permutation(45)
        assert expected_calibration_error(confidence[order], right[order]) == pytest.approx(np.sqrt(total))

    def test_all_certain_and_all_right_is_0(self) -> None:
        assert expected_calibration_error(np.ones(40), np.ones(40, dtype=bool)) == 0

    def test_certain_and_half_wrong_is_large(self) -> None:
        assert expected_calibration_error(np.ones(2000), np.arange(2000) < 1000) == pytest.approx(0.5, abs=1e-3)

    def test_true_probabilities_have_none_in_the_mean(self) -> None:
        """What the plain estimate adds is taken off again: 500 answers, 300 times."""
        rng = np.random.default_rng(0)
        debiased, plain = [], []
        for _ in range(300):
            confidence = rng.uniform(0.4, 1.0, 500)
            bins = Bins.of(confidence, rng.random(500) < confidence)
            debiased.append(debiased_square(bins))
            plain.append(float(np.sum(bins.num / 500 * (bins.confidence - bins.accuracy) ** 2)))
        error = np.std(debiased) / np.sqrt(len(debiased))
        assert abs(np.mean(debiased)) < 3 * error
        assert np.mean(plain) > 20 * error
        assert np.sqrt(np.mean(plain)) > 0.05

    def test_true_probabilities_of_many_answers_have_next_to_none(self) -> None:
        rng = np.random.default_rng(1)
        confidence = rng.uniform(0.4, 1.0, 100_000)
        assert expected_calibration_error(confidence, rng.random(100_000) < confidence) < 0.01
        shifted = np.clip(confidence + 0.1, 0, 1)
        assert expected_calibration_error(shifted, rng.random(100_000) < confidence) == pytest.approx(0.1, abs=0.01)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60), st.randoms())
    def test_neither_order_counts_nor_how_ties_are_broken(self, drawn: list[tuple[int, bool]], random: object) -> None:
        confidence, right = (np.array(x) for x in zip(*drawn, strict=True))
        order = np.array(sorted(range(len(drawn)), key=lambda _: random.random()))  # type: ignore[attr-defined]
        one = Bins.of(confidence / 20, right)
        other = Bins.of(confidence[order] / 20, right[order])
        assert one.num.tolist() == other.num.tolist()
        assert one.num.sum() == len(drawn)
        assert np.allclose(one.accuracy, other.accuracy)
        # A confidence is in one bin only.
        assert len(np.unique(confidence)) >= len(one.num)
        assert (np.diff(one.confidence) > 0).all()

    def test_bins_hold_equal_numbers(self) -> None:
        bins = Bins.of(np.random.default_rng(0).random(1500), np.ones(1500, dtype=bool))
        assert bins.num.tolist() == [100] * NUM_BINS


class TestProperScores:
    def test_of_classes_they_are_scikit_learns(self) -> None:
        logits, labels = draw_classes(200, 0)
        share = probabilities(of_classes(3), logits)
        one_hot = np.eye(3)[labels.numpy()]
        assert brier_score(of_classes(3), share, labels) == pytest.approx(((share - one_hot) ** 2).sum(axis=1).mean())
        assert example_losses(of_classes(3), logits, labels).mean() == pytest.approx(metrics.log_loss(labels, share))

    def test_of_labels_they_are_means_over_them(self) -> None:
        generator = torch.Generator().manual_seed(0)
        logits, truth = torch.randn(100, 2, generator=generator), torch.rand(100, 2, generator=generator).round()
        share = probabilities(of_labels(2), logits)
        brier = [metrics.brier_score_loss(truth[:, c], share[:, c]) for c in range(2)]
        loss = [metrics.log_loss(truth[:, c], share[:, c]) for c in range(2)]
        assert brier_score(of_labels(2), share, truth) == pytest.approx(np.mean(brier))
        assert example_losses(of_labels(2), logits, truth).mean() == pytest.approx(np.mean(loss))

    def test_a_certain_error_costs_no_more_than_the_floor(self) -> None:
        certain = torch.tensor([[1000.0, 0.0, 0.0]])
        assert example_losses(of_classes(3), certain, torch.tensor([1])) == pytest.approx([-np.log(FLOOR)])
        labels = torch.tensor([[1.0, 0.0]])
        wrong = torch.tensor([[-1000.0, -1000.0]])
        assert example_losses(of_labels(2), wrong, labels) == pytest.approx([-np.log(FLOOR) / 2])

    def test_a_regression_has_the_objectives_loss_and_no_probabilities(self) -> None:
        targets = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 80.0]])
        objective = make_objective("regression", 2, targets, targets)
        outputs = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
        losses = example_losses(objective, outputs, targets)
        assert losses.shape == (3,)
        assert losses.mean() == pytest.approx(float(objective.loss(outputs, targets)))
        with pytest.raises(ValueError, match="no probabilities"):
            probabilities(objective, outputs)


class TestTemperature:
    @pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
    def test_the_factor_that_spoiled_probabilities_is_found(self, scale: float) -> None:
        logits, labels = draw_classes(20_000, 1, scale)
        assert fit_temperature(of_classes(3), logits, labels) == pytest.approx(scale, rel=0.05)

    def test_of_labels_too(self) -> None:
        generator = torch.Generator().manual_seed(0)
        logits = 2 * torch.randn(20_000, 2, generator=generator)
        truth = torch.bernoulli(logits.sigmoid(), generator=generator)
        assert fit_temperature(of_labels(2), 2.5 * logits, truth) == pytest.approx(2.5, rel=0.05)

    def test_answers_without_an_error_say_nothing_of_it(self) -> None:
        """The smaller it is the less is the loss: none is best."""
        assert fit_temperature(of_classes(3), 5 * torch.eye(3), torch.arange(3)) is None
        assert fit_temperature(of_labels(2), torch.tensor([[3.0, -2.0]]), torch.tensor([[1.0, 0.0]])) is None
        assert fit_temperature(of_classes(3), 5 * torch.eye(3), torch.tensor([0, 1, 0])) is not None

    def test_worthless_outputs_are_flattened_as_far_as_is_tried(self) -> None:
        worse = 5 * torch.eye(3)[[1, 2, 0]]
        assert fit_temperature(of_classes(3), worse, torch.arange(3)) == pytest.approx(20, rel=0.01)


def value(found: Findings, name: str, condition: str = "") -> float:
    (measure,) = [m for m in found.measures if (m.name, m.condition) == (name, condition)]
    return measure.value


class Fixed:
    """A subject whose outputs are given."""

    def __init__(self, task: Task, outputs: dict[int, Tensor]) -> None:
        self.task, self.objective, self._outputs = task, task.objective, outputs

    def predict(self, split: object) -> Tensor:
        return self._outputs[id(split)]


class TestSubject:
    def test_scaling_takes_away_what_overconfidence_cost(self, digits: Task) -> None:
        """Three classes, outputs four times too large, as many samples as it takes to see it."""
        splits, outputs = {}, {}
        for seed, name in enumerate(("val", "test")):
            logits, labels = draw_classes(5000, seed, 4.0)
            splits[name] = replace(digits.test, rows=torch.zeros(5000, dtype=torch.int64), targets=labels)
            outputs[id(splits[name])] = logits
        task = replace(digits, **splits, objective=of_classes(3), class_names=("a", "b", "c"))
        found = calibration(Fixed(task, outputs), Evaluation())  # type: ignore[arg-type]
        assert value(found, "temperature") == pytest.approx(4, rel=0.1)
        assert value(found, "ece") > 0.05 > 0.03 > value(found, "ece", "temperature_scaled")
        for name in ("nll", "brier"):
            assert value(found, name, "temperature_scaled") < 0.97 * value(found, name)
        assert found.notes == ()
        curve = [value(found, "reliability_num", f"bin:{b}") for b in range(NUM_BINS)]
        assert sum(curve) == 5000
        gaps = [
            value(found, "reliability_confidence", f"bin:{b}") - value(found, "reliability_accuracy", f"bin:{b}")
            for b in range(NUM_BINS)
        ]
        assert np.average(np.square(gaps), weights=curve) == pytest.approx(value(found, "ece") ** 2, rel=0.1)

    def test_of_a_trained_network(self, tuned: Subject) -> None:
        found = calibration(tuned, Evaluation())
        loss = tuned.finetuner.measure_test().quality.loss
        assert value(found, "nll") == pytest.approx(loss, rel=1e-5)
        assert 0 <= value(found, "ece") <= 1
        assert 0 <= value(found, "brier") <= 2
        val = tuned.predict(tuned.task.val)
        best = tuned.objective.loss(val / value(found, "temperature"), tuned.task.val.targets)
        assert best <= tuned.objective.loss(val, tuned.task.val.targets)
        assert "22 test samples" in found.notes[0]

    def test_labels_are_measured_and_numbers_are_not(self, subject_of: Callable[..., Subject], digits: Task) -> None:
        labels = subject_of(task=with_targets(digits, "multilabel", ("1", "2", "4"), bits), freeze_depth=14)
        found = calibration(labels, Evaluation())
        share = labels.predict(labels.task.test).double().sigmoid().numpy()
        truth = labels.task.test.targets.numpy() > 0
        errors = [expected_calibration_error(share[:, c], truth[:, c]) for c in range(3)]
        assert value(found, "ece") == pytest.approx(np.mean(errors))
        assert sum(m.value for m in found.measures if m.name == "reliability_num") == truth.size
        task = with_targets(digits, "regression", ("number",), lambda t: t.float()[:, None])
        none = calibration(subject_of(task=task, freeze_depth=14), Evaluation())
        assert none.measures == ()
        assert none.notes == ("calibration: a regression gives no probabilities",)
