"""Quality figures are scikit-learn's, and hand-computed where definitions differ at the edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_kinds import bits, with_targets
from sklearn import metrics

from trainables.data import Task
from trainables.evaluate import Evaluation, Findings, Subject, quality
from trainables.evaluate.quality import MAX_CONFUSION, auroc, of_classes, of_labels, of_numbers

Floats = npt.NDArray[np.float64]


def value(found: Findings, name: str, condition: str = "") -> float:
    (measure,) = [m for m in found.measures if (m.name, m.condition) == (name, condition)]
    assert measure.split == "test"
    return measure.value


def names(num: int) -> tuple[str, ...]:
    return tuple(f"c{index}" for index in range(num))


def answered(answers: Sequence[int], num: int) -> Floats:
    """Probabilities whose largest is that of the answer."""
    return np.eye(num)[list(answers)] * 0.5 + 0.5 / num


def random_case(seed: int, num_classes: int, num: int = 200) -> tuple[npt.NDArray[np.int64], Floats]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, num_classes))
    truth = rng.integers(0, num_classes, num)
    truth[:num_classes] = np.arange(num_classes)
    logits[np.arange(num), truth] += 1.0
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, share


class TestClasses:
    @pytest.mark.parametrize("num_classes", [2, 7])
    def test_figures_are_scikit_learns(self, num_classes: int) -> None:
        truth, share = random_case(0, num_classes)
        answers, found = share.argmax(axis=1), of_classes(truth, share, names(num_classes))
        assert value(found, "accuracy") == pytest.approx(metrics.accuracy_score(truth, answers))
        assert value(found, "balanced_accuracy") == pytest.approx(metrics.balanced_accuracy_score(truth, answers))
        for average in ("macro", "micro"):
            for name in ("precision", "recall", "f1"):
                score = getattr(metrics, f"{name}_score")(truth, answers, average=average)
                assert value(found, f"{name}_{average}") == pytest.approx(score)
        scores = share[:, 1] if num_classes == 2 else share
        area = metrics.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
        assert value(found, "auroc") == pytest.approx(area)
        f1 = metrics.f1_score(truth, answers, average=None)
        assert [value(found, "f1", f"class:c{c}") for c in range(num_classes)] == pytest.approx(f1)
        assert found.confusion is not None
        assert np.array_equal(found.confusion, metrics.confusion_matrix(truth, answers))
        assert found.notes == ()

    def test_a_class_that_is_never_answered_has_precision_0_and_counts(self) -> None:
        found = of_classes(np.array([0, 0, 1, 2]), answered([0, 0, 1, 1], 3), names(3))
        assert value(found, "precision", "class:c2") == 0
        assert value(found, "precision_macro") == pytest.approx((1 + 1 / 2 + 0) / 3)
        assert value(found, "recall_macro") == value(found, "balanced_accuracy") == pytest.approx(2 / 3)
        assert value(found, "f1_macro") == pytest.approx((1 + 2 / 3 + 0) / 3)
        assert value(found, "num_classes_never_answered") == 1
        assert found.notes == ("quality: never answered: c2; their precision counts as 0",)

    def test_a_class_without_test_samples_is_left_out_and_counted(self) -> None:
        """Answering it is wrong all the same."""
        found = of_classes(np.array([0, 0, 1, 1]), answered([0, 2, 1, 1], 3), names(3))
        assert value(found, "precision_macro") == 1
        assert value(found, "recall_macro") == value(found, "balanced_accuracy") == pytest.approx(3 / 4)
        assert value(found, "precision_micro") == value(found, "recall_micro") == value(found, "accuracy") == 3 / 4
        assert np.isnan([value(found, name, "class:c2") for name in ("precision", "recall", "f1")]).all()
        assert [value(found, "num", f"class:c{c}") for c in range(3)] == [2, 2, 0]
        assert value(found, "num_classes_absent") == 1
        assert found.confusion is not None
        assert found.confusion.tolist() == [[1, 0, 1], [0, 2, 0], [0, 0, 0]]
        assert found.notes == ("quality: no test sample is of c2: left out of all means",)

    def test_with_one_class_left_the_area_is_not_a_number(self) -> None:
        assert np.isnan(value(of_classes(np.zeros(3, dtype=np.int64), answered([0, 1, 0], 2), names(2)), "auroc"))

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 10**6), st.permutations(range(5)))
    def test_means_do_not_depend_on_the_order_of_the_classes(self, seed: int, order: list[int]) -> None:
        truth, share = random_case(seed, 5, num=40)
        ways = np.argsort(order)
        one, other = of_classes(truth, share, names(5)), of_classes(ways[truth], share[:, order], names(5))
        for name in ("accuracy", "balanced_accuracy", "precision_macro", "recall_micro", "f1_macro", "auroc"):
            assert value(other, name) == pytest.approx(value(one, name))

    def test_too_many_classes_have_no_confusion_matrix(self) -> None:
        num = MAX_CONFUSION + 1
        found = of_classes(np.arange(num), answered(range(num), num), names(num))
        assert found.confusion is None
        assert found.notes == ("quality: no confusion matrix of more than 1,000 classes",)
        assert value(found, "auroc") == 1


class TestAuroc:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
    def test_it_is_scikit_learns_ties_included(self, drawn: list[tuple[bool, int]]) -> None:
        positive, score = (np.array(x) for x in zip(*drawn, strict=True))
        if positive.all() or not positive.any():
            assert np.isnan(auroc(positive, score))
        else:
            assert auroc(positive, score) == pytest.approx(metrics.roc_auc_score(positive, score))

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6))
    def test_only_the_order_of_scores_counts(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        positive, score = np.arange(30) % 3 == 0, rng.normal(size=30)
        assert (
            auroc(positive, np.exp(3 * score)) == auroc(positive, score) == pytest.approx(1 - auroc(positive, -score))
        )


class TestLabels:
    def test_figures_are_scikit_learns(self) -> None:
        rng = np.random.default_rng(0)
        truth = rng.random((150, 4)) < 0.4
        share = np.clip(truth * 0.3 + rng.random((150, 4)) * 0.7, 0, 1)
        answers, found = share > 0.5, of_labels(truth, share, names(4))
        assert value(found, "accuracy") == pytest.approx((answers == truth).all(axis=1).mean())
        for average in ("macro", "micro"):
            for name in ("precision", "recall", "f1"):
                score = getattr(metrics, f"{name}_score")(truth, answers, average=average)
                assert value(found, f"{name}_{average}") == pytest.approx(score)
        assert value(found, "auroc") == pytest.approx(metrics.roc_auc_score(truth, share, average="macro"))
        balanced = [metrics.balanced_accuracy_score(truth[:, c], answers[:, c]) for c in range(4)]
        assert value(found, "balanced_accuracy") == pytest.approx(np.mean(balanced))
        assert found.confusion is None

    def test_a_label_that_no_sample_has_is_left_out(self) -> None:
        truth = np.array([[1, 0], [0, 0], [1, 0]], dtype=bool)
        found = of_labels(truth, np.array([[0.9, 0.9], [0.2, 0.1], [0.8, 0.3]]), names(2))
        assert value(found, "f1_macro") == value(found, "auroc") == value(found, "balanced_accuracy") == 1
        assert value(found, "precision_micro") == pytest.approx(2 / 3)
        assert "quality: no test sample is of c1: left out of all means" in found.notes


class TestNumbers:
    def test_errors_are_in_the_targets_units_and_of_each_target(self) -> None:
        truth = np.array([[1.0, 100.0], [2.0, 300.0], [3.0, 200.0]])
        found = of_numbers(truth, truth + np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 30.0]]), ("weight", "height"))
        assert value(found, "mae", "target:weight") == pytest.approx(2 / 3)
        assert value(found, "mae", "target:height") == pytest.approx(10)
        assert value(found, "mse") == pytest.approx((2 / 3 + 300) / 2)
        assert value(found, "r2", "target:weight") == pytest.approx(0)
        assert value(found, "r2") == pytest.approx((0 + 1 - 900 / 20000) / 2)

    def test_a_single_target_is_not_listed_twice(self) -> None:
        found = of_numbers(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]), ("weight",))
        assert [(m.name, m.condition) for m in found.measures] == [("r2", ""), ("mae", ""), ("mse", "")]


class TestSubject:
    def test_it_measures_the_tuned_network_on_test(self, tuned: Subject) -> None:
        found, measured = quality(tuned, Evaluation()), tuned.finetuner.measure_test().quality
        assert value(found, "accuracy") == pytest.approx(measured.accuracy)
        assert value(found, "f1_macro") == pytest.approx(measured.f1_macro)
        assert found.confusion is not None
        assert found.confusion.sum() == len(tuned.task.test)
        assert np.trace(found.confusion) / len(tuned.task.test) == pytest.approx(measured.accuracy)
        assert {f"class:{name}" for name in tuned.task.class_names} <= {m.condition for m in found.measures}

    def test_labels_and_numbers_too(self, subject_of: Callable[..., Subject], digits: Task) -> None:
        labels = subject_of(task=with_targets(digits, "multilabel", ("1", "2", "4"), bits), freeze_depth=14)
        measured = labels.finetuner.measure_test().quality
        assert value(quality(labels, Evaluation()), "accuracy") == pytest.approx(measured.accuracy)
        assert value(quality(labels, Evaluation()), "f1_macro") == pytest.approx(measured.f1_macro)
        task = with_targets(digits, "regression", ("number",), lambda t: (50.0 + 10 * t)[:, None])
        numbers = subject_of(task=task, freeze_depth=14)
        measured = numbers.finetuner.measure_test().quality
        found = quality(numbers, Evaluation())
        assert value(found, "r2") == pytest.approx(measured.r2, abs=1e-4)
        assert value(found, "mae") == pytest.approx(measured.mae, rel=1e-4)
