"""What a kind of task asks of a model: its outputs, loss, metrics and what guessing would score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error, r2_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from trainables.balance import is_balanced
from trainables.config import FinetuneConfig, Kind
from trainables.errors import DataError

__all__ = ["Metric", "Objective", "Quality", "loss_weight", "make_objective"]

Metric = Literal["accuracy", "f1_macro", "r2"]

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """How good predictions are. What the kind of task does not have is None."""

    loss: float
    """Mean over samples, as `Objective.loss` without weights."""

    accuracy: float | None = None
    """Share of samples answered correctly, in [0, 1]; of a multi-label task every label."""

    f1_macro: float | None = None
    """Mean of the per-class F1, in [0, 1], over the classes present."""

    r2: float | None = None
    """Coefficient of determination, at most 1; the mean over targets."""

    mae: float | None = None
    mse: float | None = None
    """Mean absolute and squared error, in the units of the target; means over targets."""

    def score(self, metric: Metric) -> float:
        """The value of the task's main metric.

        Raises:
            ValueError: the kind of task does not have it.
        """
        value: float | None = getattr(self, metric)
        if value is None:
            raise ValueError(f"{metric} was not measured")
        return value


class Objective(Protocol):
    """One kind of task. Outputs are float32 (n, num_outputs); targets as the kind has them."""

    @property
    def num_outputs(self) -> int:
        """Width of the head."""

    @property
    def metric(self) -> Metric:
        """The task's main metric, fixed before any training; higher is better, 1 is perfect."""

    @property
    def chance(self) -> float:
        """The metric's value on test for the best constant answer."""

    def balanced_weight(self, targets: Tensor) -> Tensor:
        """Weights for `loss` that make classes count equally, from the training targets.

        Raises:
            DataError: the kind of task has no classes.
        """

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over samples; differentiable."""

    def quality(self, outputs: Tensor, targets: Tensor) -> Quality:
        """Of outputs on the CPU."""

    def example_scores(self, outputs: Tensor, targets: Tensor) -> Floats:
        """One number per sample, shape (n,). Their mean is accuracy (1 correct, 0 not) or R²."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """One class per sample. Targets: int64 (n,)."""

    num_outputs: int
    metric: Metric
    chance: float

    def balanced_weight(self, targets: Tensor) -> Tensor:
        """total / (classes x count), as scikit-learn's ``balanced``; 0 for a class without samples."""
        counts = torch.bincount(targets, minlength=self.num_outputs)
        weight = len(targets) / ((counts > 0).sum() * counts.clamp(min=1))
        return torch.where(counts > 0, weight, torch.zeros(()))

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Cross-entropy in nats. With weights the divisor is still the number of samples, so that a
        batch's gradient does not grow with its rarest class."""
        if weight is None:
            return cross_entropy(outputs, targets)
        return cross_entropy(outputs, targets, weight=weight, reduction="sum") / len(targets)

    def quality(self, outputs: Tensor, targets: Tensor) -> Quality:
        truth, answers = targets.numpy(), outputs.argmax(dim=1).numpy()
        return Quality(
            loss=float(self.loss(outputs, targets)),
            accuracy=float(accuracy_score(truth, answers)),
            f1_macro=float(f1_score(truth, answers, average="macro", labels=np.unique(truth), zero_division=0)),
        )

    def example_scores(self, outputs: Tensor, targets: Tensor) -> Floats:
        return (outputs.argmax(dim=1) == targets).numpy().astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiLabel:
    """Any number of labels per sample, each answered yes where its logit is positive. Targets: float32
    (n, labels) of 0 and 1."""

    num_outputs: int
    chance: float
    metric: Metric = "f1_macro"

    def balanced_weight(self, targets: Tensor) -> Tensor:
        """Negatives over positives of each label, for the positives; 1 for a label without any."""
        positives = targets.sum(dim=0)
        return torch.where(positives > 0, (len(targets) - positives) / positives.clamp(min=1), torch.ones(()))

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Binary cross-entropy in nats, the mean over labels."""
        return binary_cross_entropy_with_logits(outputs, targets, pos_weight=weight)

    def quality(self, outputs: Tensor, targets: Tensor) -> Quality:
        truth, answers = targets.numpy() > 0, (outputs > 0).numpy()
        present = np.flatnonzero(truth.any(axis=0))
        return Quality(
            loss=float(self.loss(outputs, targets)),
            accuracy=float(accuracy_score(truth, answers)),
            f1_macro=float(f1_score(truth, answers, average="macro", labels=present, zero_division=0)),
        )

    def example_scores(self, outputs: Tensor, targets: Tensor) -> Floats:
        return ((outputs > 0) == (targets > 0)).all(dim=1).numpy().astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """Numbers. Targets: float32 (n, targets), in their own units; outputs are in standard deviations of
    the training targets from their mean, so that no learning rate depends on the unit."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    chance: float = 0.0
    """R² of answering the test mean."""

    metric: Metric = "r2"

    @property
    def num_outputs(self) -> int:
        return len(self.mean)

    def balanced_weight(self, targets: Tensor) -> Tensor:
        raise DataError("class_weight must be none for a regression: it has no classes to balance")

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean squared error over the variance of the training targets; the mean over targets."""
        mean, std = outputs.new_tensor(self.mean), outputs.new_tensor(self.std)
        return mse_loss(outputs, (targets - mean) / std)

    def quality(self, outputs: Tensor, targets: Tensor) -> Quality:
        truth, answers = targets.numpy(), self.answers(outputs)
        if not np.isfinite(answers).all():  # scikit-learn raises; the caller reports divergence by the loss
            return Quality(loss=float("nan"), r2=float("nan"), mae=float("nan"), mse=float("nan"))
        return Quality(
            loss=float(self.loss(outputs, targets)),
            r2=float(r2_score(truth, answers)),
            mae=float(mean_absolute_error(truth, answers)),
            mse=float(mean_squared_error(truth, answers)),
        )

    def example_scores(self, outputs: Tensor, targets: Tensor) -> Floats:
        truth = targets.numpy()
        error = (truth - self.answers(outputs)) ** 2 / truth.var(axis=0)
        return np.asarray((1 - error).mean(axis=1), dtype=np.float32)

    def answers(self, outputs: Tensor) -> Floats:
        """Outputs in the targets' own units, shape (n, targets)."""
        return (outputs * outputs.new_tensor(self.std) + outputs.new_tensor(self.mean)).numpy()


def loss_weight(config: FinetuneConfig, objective: Objective, targets: Tensor, device: torch.device) -> Tensor | None:
    """What `Objective.loss` is weighted with while `config` is trained on these targets, on the device.

    Raises:
        DataError: it shall be by class and the kind of task has no classes.
    """
    return objective.balanced_weight(targets).to(device) if config.class_weight == "balanced" else None


def make_objective(kind: Kind, num_outputs: int, train: Tensor, test: Tensor) -> Objective:
    """The objective of a task from its training and test targets.

    Accuracy is the main metric of a classification, or macro F1 where the largest test class has more
    than 1.5 times the samples of the smallest; macro F1 that of a multi-label task; R² that of a
    regression. Test targets decide nothing else here than the metric and its chance level.

    Raises:
        DataError: a regression target does not vary.
    """
    if kind == "classification":
        metric, chance = main_metric(test, num_outputs)
        return Classification(num_outputs=num_outputs, metric=metric, chance=chance)
    if kind == "multilabel":
        share = test.mean(dim=0)
        # Yes to everything: precision `share`, recall 1. No to everything scores 0.
        f1 = (2 * share / (1 + share))[share > 0]
        return MultiLabel(num_outputs=num_outputs, chance=float(f1.mean()))
    std, test_std = train.std(dim=0, correction=0), test.std(dim=0, correction=0)
    if not (std > 0).all() or not (test_std > 0).all():
        raise DataError("a regression target is the same for all samples of a split; there is nothing to learn")
    return Regression(mean=tuple(train.mean(dim=0).tolist()), std=tuple(std.tolist()))


def main_metric(labels: Tensor, num_classes: int) -> tuple[Metric, float]:
    """The main metric for these test labels, and its value for the constant majority answer."""
    counts = torch.bincount(labels, minlength=num_classes)
    majority = float(counts.max() / counts.sum())
    if is_balanced(counts.tolist()):
        return "accuracy", majority
    # One class has precision `majority` and recall 1, all others score 0.
    return "f1_macro", 2 * majority / (1 + majority) / num_classes
