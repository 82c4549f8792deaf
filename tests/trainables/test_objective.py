"""Every kind of task keeps one contract; its numbers are scikit-learn's and torch's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, r2_score
from torch import Tensor
from torch.nn.functional import one_hot

from trainables.errors import DataError
from trainables.objective import Objective, main_metric, make_objective


class ObjectiveContract(ABC):
    """The claims. A kind of task names an objective, targets and outputs."""

    @abstractmethod
    def objective(self, train: Tensor, test: Tensor) -> Objective: ...

    @abstractmethod
    def targets(self, num: int, seed: int) -> Tensor: ...

    @abstractmethod
    def perfect(self, objective: Objective, targets: Tensor) -> Tensor:
        """Outputs that are right."""

    @abstractmethod
    def constant(self, objective: Objective, targets: Tensor) -> Tensor:
        """The best outputs that are the same for all samples."""

    @pytest.fixture
    def test(self) -> Tensor:
        return self.targets(60, seed=1)

    @pytest.fixture
    def it(self, test: Tensor) -> Objective:
        return self.objective(self.targets(200, seed=0), test)

    def test_right_answers_score_one(self, it: Objective, test: Tensor) -> None:
        outputs = self.perfect(it, test)
        assert outputs.shape == (60, it.num_outputs)
        assert it.quality(outputs, test).score(it.metric) == pytest.approx(1.0)
        assert it.example_scores(outputs, test) == pytest.approx(np.ones(60))

    def test_chance_is_what_the_best_constant_answer_scores(self, it: Objective, test: Tensor) -> None:
        assert it.quality(self.constant(it, test), test).score(it.metric) == pytest.approx(it.chance, abs=1e-6)

    def test_the_loss_is_differentiable_finite_and_least_where_answers_are_right(
        self, it: Objective, test: Tensor
    ) -> None:
        outputs = self.constant(it, test).requires_grad_()
        loss = it.loss(outputs, test)
        loss.backward()
        assert outputs.grad is not None
        assert torch.isfinite(outputs.grad).all()
        assert loss > it.loss(self.perfect(it, test), test)

    def test_the_loss_is_a_mean_over_samples(self, it: Objective, test: Tensor) -> None:
        outputs = torch.randn(60, it.num_outputs, generator=torch.Generator().manual_seed(3))
        parts = [it.loss(outputs[i : i + 1], test[i : i + 1]) for i in range(60)]
        assert it.quality(outputs, test).loss == pytest.approx(float(torch.stack(parts).mean()), rel=1e-5)

    def test_a_metric_it_does_not_have_is_refused(self, it: Objective, test: Tensor) -> None:
        other = "accuracy" if it.metric == "r2" else "r2"
        with pytest.raises(ValueError, match=f"{other} was not measured"):
            it.quality(self.perfect(it, test), test).score(other)


class TestBalancedClassification(ObjectiveContract):
    weights = (1.0, 1.0, 1.0)

    def objective(self, train: Tensor, test: Tensor) -> Objective:
        return make_objective("classification", 3, train, test)

    def targets(self, num: int, seed: int) -> Tensor:
        counts = [round(num * weight / sum(self.weights)) for weight in self.weights]
        return torch.repeat_interleave(torch.arange(3), torch.tensor(counts))

    def perfect(self, objective: Objective, targets: Tensor) -> Tensor:
        return one_hot(targets, 3).float() * 8

    def constant(self, objective: Objective, targets: Tensor) -> Tensor:
        return one_hot(targets.mode().values, 3).float().expand(len(targets), -1).clone()

    def test_example_scores_average_to_the_accuracy(self, it: Objective, test: Tensor) -> None:
        outputs = torch.randn(60, 3, generator=torch.Generator().manual_seed(3))
        assert it.example_scores(outputs, test).mean() == pytest.approx(it.quality(outputs, test).accuracy)

    def test_balanced_weights_make_classes_count_equally(self, it: Objective) -> None:
        train = torch.tensor([0] * 8 + [1] * 2)
        weight = it.balanced_weight(train)
        assert weight.tolist() == [10 / 16, 10 / 4, 0.0]
        outputs = torch.zeros(10, 3)
        assert float(it.loss(outputs, train, weight)) == pytest.approx(math.log(3))


class TestUnbalancedClassification(TestBalancedClassification):
    weights = (4.0, 1.0, 1.0)


class TestMultiLabel(ObjectiveContract):
    def objective(self, train: Tensor, test: Tensor) -> Objective:
        return make_objective("multilabel", 4, train, test)

    def targets(self, num: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return (torch.rand(num, 4, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.8])).float()

    def perfect(self, objective: Objective, targets: Tensor) -> Tensor:
        return targets * 16 - 8

    def constant(self, objective: Objective, targets: Tensor) -> Tensor:
        return torch.ones(len(targets), 4)

    def test_macro_f1_is_scikit_learns(self, it: Objective, test: Tensor) -> None:
        outputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(3))
        assert it.quality(outputs, test).f1_macro == pytest.approx(
            f1_score(test.numpy(), (outputs > 0).numpy(), average="macro")
        )

    def test_balanced_weights_lift_rare_positives(self, it: Objective) -> None:
        weight = it.balanced_weight(torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1]]))
        assert weight.tolist() == [3.0, 1.0, 0.0, 1.0]


class TestRegression(ObjectiveContract):
    def objective(self, train: Tensor, test: Tensor) -> Objective:
        return make_objective("regression", 2, train, test)

    def targets(self, num: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(num, 2, generator=generator) * torch.tensor([1000.0, 0.01]) + torch.tensor([5e4, -3.0])

    def perfect(self, objective: Objective, targets: Tensor) -> Tensor:
        train = self.targets(200, seed=0)
        return (targets - train.mean(dim=0)) / train.std(dim=0, correction=0)

    def constant(self, objective: Objective, targets: Tensor) -> Tensor:
        return self.perfect(objective, targets.mean(dim=0, keepdim=True)).expand(len(targets), -1).clone()

    def test_example_scores_average_to_r2(self, it: Objective, test: Tensor) -> None:
        outputs = torch.randn(60, 2, generator=torch.Generator().manual_seed(3))
        measured = it.quality(outputs, test)
        assert it.example_scores(outputs, test).mean() == pytest.approx(measured.r2, rel=1e-4)

    def test_errors_are_in_the_units_of_the_target(self, it: Objective, test: Tensor) -> None:
        off = self.perfect(it, test + torch.tensor([500.0, 0.0]))
        measured = it.quality(off, test)
        assert measured.mae == pytest.approx(250, rel=1e-3)
        assert measured.mse == pytest.approx(125_000, rel=1e-3)
        assert measured.r2 == pytest.approx(r2_score(test, test + torch.tensor([500.0, 0.0])), rel=1e-3)

    def test_the_loss_does_not_depend_on_the_unit(self) -> None:
        a, b = self.targets(200, seed=0), self.targets(60, seed=1)
        outputs = torch.randn(60, 2, generator=torch.Generator().manual_seed(3))
        metres, millimetres = self.objective(a, b), self.objective(a * 1000, b * 1000)
        assert float(metres.loss(outputs, b)) == pytest.approx(float(millimetres.loss(outputs, b * 1000)), rel=1e-3)

    def test_outputs_that_are_no_numbers_are_a_loss_that_is_none(self, it: Objective, test: Tensor) -> None:
        assert math.isnan(it.quality(torch.full((60, 2), math.nan), test).loss)

    def test_it_has_no_classes_to_balance(self, it: Objective) -> None:
        with pytest.raises(DataError, match="class_weight must be none for a regression"):
            it.balanced_weight(self.targets(10, seed=0))

    def test_a_target_that_never_changes_is_refused(self) -> None:
        with pytest.raises(DataError, match="same for all samples"):
            make_objective("regression", 1, torch.ones(5, 1), torch.ones(5, 1))


def test_f1_is_made_of_precision_and_recall_and_not_of_accuracy() -> None:
    truth = torch.tensor([0] * 8 + [1, 2])
    objective = make_objective("classification", 3, truth, truth)
    measured = objective.quality(one_hot(torch.zeros(10, dtype=torch.int64), 3).float(), truth)
    assert objective.metric == "f1_macro"
    assert measured.accuracy == 0.8
    assert measured.score("f1_macro") == pytest.approx(f1_score(truth, np.zeros(10), average="macro"))


@pytest.mark.parametrize(
    ("counts", "metric"),
    [((10, 10), "accuracy"), ((15, 10), "accuracy"), ((16, 10), "f1_macro"), ((90, 5, 5), "f1_macro")],
)
def test_the_main_metric_is_fixed_by_the_balance_of_test(counts: tuple[int, ...], metric: str) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    assert main_metric(labels, len(counts))[0] == metric
