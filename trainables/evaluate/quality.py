"""How good the answers on the test split are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_fscore_support,
    r2_score,
)

from trainables.evaluate.findings import Findings, Measure
from trainables.evaluate.probability import Floats, probabilities
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.objective import Classification, Regression

__all__ = ["auroc", "of_classes", "of_labels", "of_numbers", "quality"]

MAX_CONFUSION: Final = 1000
"""Most classes that a confusion matrix is made of: it has as many cells as their square."""

_NAMED: Final = 5

Truth: TypeAlias = npt.NDArray[Any]
"""Class numbers, shape (n,), or whether each label is there, shape (n, num_labels)."""

Counts: TypeAlias = npt.NDArray[np.int64]


def quality(subject: Subject, evaluation: Evaluation) -> Findings:
    """Precision, recall, F1 and area under the ROC curve, per class and over all; errors of a regression.

    A class that no test sample has counts in no mean over classes; one that is never answered has precision 0
    and does count.
    """
    objective, test, names = subject.objective, subject.task.test, subject.task.class_names
    outputs, truth = subject.predict(test), test.targets.numpy()
    if not bool(outputs.isfinite().all()):
        return Findings(notes=("quality: not all outputs on the test split are finite, so nothing was measured",))
    if isinstance(objective, Regression):
        return of_numbers(truth, objective.answers(outputs).astype(np.float64), names)
    share = probabilities(objective, outputs)
    if isinstance(objective, Classification):
        return of_classes(truth, share, names)
    return of_labels(truth > 0, share, names)


def of_classes(truth: Counts, share: Floats, names: Sequence[str]) -> Findings:
    """Of one class per sample.

    Args:
        truth: class numbers, shape (n,).
        share: probability of each class, shape (n, num_classes).
    """
    answers = share.argmax(axis=1)
    num, num_answered = (np.bincount(x, minlength=len(names)) for x in (truth, answers))
    table = _table(truth, answers, names, num)
    measures = [
        Measure(name="accuracy", value=float(accuracy_score(truth, answers))),
        Measure(name="balanced_accuracy", value=_mean([row.value for row in table if row.name == "recall"])),
        Measure(name="auroc", value=_mean([auroc(truth == c, share[:, c]) for c in np.flatnonzero(num)])),
    ]
    found = Findings(measures=(*measures, *table)) + _summary(truth, answers, table, names, num, num_answered)
    if len(names) > MAX_CONFUSION:
        return found + Findings(notes=(f"quality: no confusion matrix of more than {MAX_CONFUSION:,} classes",))
    return found + Findings(confusion=confusion_matrix(truth, answers, labels=np.arange(len(names))).astype(np.int64))


def of_labels(truth: npt.NDArray[np.bool_], share: Floats, names: Sequence[str]) -> Findings:
    """Of any number of labels per sample, each answered yes where its probability is above one half.

    Balanced accuracy and the area under the ROC curve are means over the labels that some samples have and
    some have not.

    Args:
        truth: shape (n, num_labels).
        share: probability of each label, shape (n, num_labels).
    """
    answers = share > 0.5
    num = truth.sum(axis=0)
    varied = np.flatnonzero((num > 0) & (num < len(truth)))
    balanced = [answers[truth[:, c], c].mean() / 2 + (~answers[~truth[:, c], c]).mean() / 2 for c in varied]
    table = _table(truth, answers, names, num)
    measures = [
        Measure(name="accuracy", value=float(accuracy_score(truth, answers))),
        Measure(name="balanced_accuracy", value=_mean(balanced)),
        Measure(name="auroc", value=_mean([auroc(truth[:, c], share[:, c]) for c in varied])),
    ]
    found = Findings(measures=(*measures, *table), notes=("quality: several labels have no confusion matrix",))
    return found + _summary(truth, answers, table, names, num, answers.sum(axis=0))


def of_numbers(truth: Floats, answers: Floats, names: Sequence[str]) -> Findings:
    """Of a regression: means over targets and, where there are several, each target by itself.

    Args:
        truth: shape (n, num_targets), in the targets' own units, as are the answers.
    """
    metrics = {"r2": r2_score, "mae": mean_absolute_error, "mse": mean_squared_error}
    measures = [Measure(name=name, value=float(metric(truth, answers))) for name, metric in metrics.items()]
    if len(names) > 1:
        measures += [
            Measure(name=name, value=float(value), condition=f"target:{target}")
            for name, metric in metrics.items()
            for target, value in zip(names, metric(truth, answers, multioutput="raw_values"), strict=True)
        ]
    return Findings(measures=tuple(measures), notes=("quality: a regression has no classes",))


def auroc(is_positive: npt.NDArray[np.bool_], score: Floats) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counting one half.

    By ranks (Mann-Whitney), since a curve for each of a thousand classes takes long. Not a number where there
    are positives or negatives only.
    """
    num_positive = int(is_positive.sum())
    num_pairs = num_positive * (len(is_positive) - num_positive)
    if not num_pairs:
        return float("nan")
    ranks = rankdata(score)[is_positive].sum()
    return float((ranks - num_positive * (num_positive + 1) / 2) / num_pairs)


def _table(truth: Truth, answers: Truth, names: Sequence[str], num: Counts) -> list[Measure]:
    """Precision, recall, F1 and samples of each class; not a number where no test sample is of it."""
    columns = precision_recall_fscore_support(truth, answers, labels=np.arange(len(names)), zero_division=0)[:3]
    rows = zip(names, num, *columns, strict=True)
    return [
        Measure(name=name, value=float(value), condition=f"class:{class_name}")
        for class_name, n, *values in rows
        for name, value in zip(
            ("precision", "recall", "f1", "num"), (*(v if n else np.nan for v in values), n), strict=True
        )
    ]


def _summary(
    truth: Truth, answers: Truth, table: list[Measure], names: Sequence[str], num: Counts, num_answered: Counts
) -> Findings:
    """Means over the classes that are in the test split and over all answers, and what the means leave out."""
    every = np.arange(len(names))
    micro = precision_recall_fscore_support(truth, answers, labels=every, average="micro", zero_division=0)[:3]
    measures = []
    for name, value in zip(("precision", "recall", "f1"), micro, strict=True):
        measures.append(Measure(name=f"{name}_macro", value=_mean([row.value for row in table if row.name == name])))
        measures.append(Measure(name=f"{name}_micro", value=float(value)))
    absent, never = np.flatnonzero(num == 0), np.flatnonzero((num > 0) & (num_answered == 0))
    measures.append(Measure(name="num_classes_absent", value=len(absent)))
    measures.append(Measure(name="num_classes_never_answered", value=len(never)))
    notes = []
    if len(absent):
        notes.append(f"quality: no test sample is of {_named(absent, names)}: left out of all means")
    if len(never):
        notes.append(f"quality: never answered: {_named(never, names)}; their precision counts as 0")
    return Findings(measures=tuple(measures), notes=tuple(notes))


def _mean(values: Sequence[float]) -> float:
    """Over those that are numbers; not a number where none is."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _named(classes: Counts, names: Sequence[str]) -> str:
    listed = ", ".join(names[c] for c in classes[:_NAMED])
    return listed if len(classes) <= _NAMED else f"{listed} and {len(classes) - _NAMED} more"
