"""Whether probabilities mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata
from torch import Tensor

from trainables.evaluate.findings import Findings, Measure
from trainables.evaluate.probability import Floats, log_losses, probabilities
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.objective import Classification, Objective, Regression

__all__ = ["Bins", "brier_score", "calibration", "debiased_square", "expected_calibration_error", "fit_temperature"]

NUM_BINS: Final = 15

FEW: Final = 1000
"""Test samples below which a calibration error is mostly noise."""

MAX_LOG_TEMPERATURE: Final = 3.0
"""Temperatures are searched from 1/20 to 20."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bins:
    """Answers by how certain they are. Each array has one value per bin, of those that hold any."""

    num: npt.NDArray[np.int64]
    confidence: Floats
    """Mean probability that the answer is right."""

    accuracy: Floats
    """Share of answers that are."""

    @classmethod
    def of(cls, confidence: Floats, is_right: npt.NDArray[np.bool_]) -> Bins:
        """`NUM_BINS` of equal numbers of answers, but that equal confidences share one.

        Args:
            confidence: probability of each answer, shape (n,).
            is_right: whether it is, shape (n,).
        """
        # Equal confidences have one rank, hence one bin.
        index = (rankdata(confidence, method="min").astype(np.int64) - 1) * NUM_BINS // len(confidence)
        num = np.bincount(index, minlength=NUM_BINS)
        kept = num > 0
        sums = [np.bincount(index, weights=values, minlength=NUM_BINS)[kept] for values in (confidence, is_right)]
        return cls(num=num[kept], confidence=sums[0] / num[kept], accuracy=sums[1] / num[kept])


def calibration(subject: Subject, evaluation: Evaluation) -> Findings:
    """Calibration error, Brier score and log loss, as trained and with a temperature fitted to validation.

    A temperature divides all outputs by one number (Guo et al. 2017, arXiv:1706.04599): it changes how certain
    answers are, and no answer. Of several labels each is a question of its own, answered yes or no, and
    figures are means over labels.
    """
    objective, task = subject.objective, subject.task
    if isinstance(objective, Regression):
        return Findings(notes=("calibration: a regression gives no probabilities",))
    val, test = (subject.predict(split) for split in (task.val, task.test))
    if not bool(val.isfinite().all()) or not bool(test.isfinite().all()):
        return Findings(notes=("calibration: not all outputs are finite, so nothing was measured",))
    fitted = fit_temperature(objective, val, task.val.targets)
    temperature = 1.0 if fitted is None else fitted
    notes = []
    if len(test) < FEW:
        notes.append(f"calibration: {len(test)} test samples; below {FEW:,} the calibration error is mostly noise")
    if fitted is None:
        notes.append("calibration: validation is answered without an error, so no temperature is best: it stays 1")
    targets, share = task.test.targets, probabilities(objective, test)
    measures = [*_scores(objective, share, targets, condition=""), *_curve(objective, share, targets)]
    share = probabilities(objective, test / temperature)
    measures += _scores(objective, share, targets, condition="temperature_scaled")
    measures.append(Measure(name="temperature", value=temperature, split="val"))
    return Findings(measures=tuple(measures), notes=tuple(notes))


def debiased_square(bins: Bins) -> float:
    """Mean squared distance of confidence and accuracy, less what chance adds to it in bins of finite size.

    The square of the debiased calibration error (Roelofs et al. 2020, arXiv:2012.08668; Kumar et al. 2019,
    arXiv:1909.10155): 0 in the mean for calibrated probabilities, so it may be negative. The variance of a
    bin of one answer is unknown and nothing is taken off it.
    """
    variance = bins.accuracy * (1 - bins.accuracy) / np.maximum(bins.num - 1, 1)
    return float(np.sum(bins.num / bins.num.sum() * ((bins.confidence - bins.accuracy) ** 2 - variance)))


def expected_calibration_error(confidence: Floats, is_right: npt.NDArray[np.bool_]) -> float:
    """Root of `debiased_square`, in [0, 1]; 0 where that is negative."""
    return float(np.sqrt(max(0.0, debiased_square(Bins.of(confidence, is_right)))))


def brier_score(objective: Objective, share: Floats, targets: Tensor) -> float:
    """Mean squared distance of probabilities and truth: summed over classes, in [0, 2] (Brier 1950); of
    several labels the mean over them, in [0, 1]."""
    if isinstance(objective, Classification):
        right = share[np.arange(len(share)), targets.numpy()]
        return float(np.mean(np.einsum("ij,ij->i", share, share) - 2 * right + 1))
    return float(np.mean((share - targets.numpy()) ** 2))


def fit_temperature(objective: Objective, outputs: Tensor, targets: Tensor) -> float | None:
    """The number that outputs are divided by for the least loss, in [1/20, 20].

    The loss has one minimum over the logarithm of the temperature, as it is convex in its inverse; none where
    every answer is right, as it then falls for ever: None.
    """
    if objective.example_scores(outputs, targets).all():
        return None

    logits = outputs.double()

    def loss(log_temperature: float) -> float:
        return float(objective.loss(logits / np.exp(log_temperature), targets))

    limits = (-MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE)
    found = minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _scores(objective: Objective, share: Floats, targets: Tensor, *, condition: str) -> list[Measure]:
    questions = _questions(objective, share, targets)
    values = {
        "ece": float(np.mean([expected_calibration_error(*question) for question in questions])),
        "brier": brier_score(objective, share, targets),
        "nll": float(log_losses(objective, share, targets).mean()),
    }
    return [Measure(name=name, value=value, condition=condition) for name, value in values.items()]


def _curve(objective: Objective, share: Floats, targets: Tensor) -> list[Measure]:
    """The reliability curve, of the answers to all labels together."""
    questions = _questions(objective, share, targets)
    bins = Bins.of(*(np.concatenate(parts) for parts in zip(*questions, strict=True)))
    return [
        Measure(name=f"reliability_{name}", value=float(value), condition=f"bin:{index}")
        for name in ("confidence", "accuracy", "num")
        for index, value in enumerate(getattr(bins, name))
    ]


def _questions(objective: Objective, share: Floats, targets: Tensor) -> list[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Probability of an answer and whether it is right: of the class answered, or of a yes to each label."""
    truth = targets.numpy()
    if isinstance(objective, Classification):
        return [(share.max(axis=1), share.argmax(axis=1) == truth)]
    return [(share[:, label], truth[:, label] > 0) for label in range(share.shape[1])]
