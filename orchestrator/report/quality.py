"""What tuning made of one backbone: losses before and after, quality by class, mistakes, efficiency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from orchestrator.report.document import Block, Figure, Missing, Table
from orchestrator.report.drawing import label
from orchestrator.report.figures_measures import NUMBERED, confusion
from orchestrator.report.studies import StudyRecords
from orchestrator.report.wording import DASH, count, listed, number, percent, plural, points, scale, seconds

__all__ = ["EFFICIENCY", "adaptation", "confusions", "efficiency", "few_labels", "measured_cost", "quality"]

_MOST_CLASSES: Final = 30
"""A confusion matrix or a table of more could not be read."""

_Written: TypeAlias = tuple[str, str, Callable[[float | None], str]]
"""A measure, its title, and how it is written."""

EFFICIENCY: Final[tuple[_Written, ...]] = (
    ("num_params", "parameters", count),
    ("num_params_trainable", "trainable", count),
    ("flops_forward", "FLOP per sample, forward", count),
    ("flops_train_step", "FLOP per sample, training", count),
    ("train_s", "training of one run", seconds),
    ("latency_s", "latency, batch of 1", seconds),
    ("throughput", "samples per second", number),
    ("memory_mib", "peak memory, MiB", number),
    ("checkpoint_bytes", "checkpoint, bytes", count),
    ("energy_j", "energy, J", number),
)
"""What a configuration costs."""

_OF_RUNS: Final = ("train_s", "memory_mib")
"""Those that are columns of TRIALS."""


_OF_NUMBERS: Final[tuple[_Written, ...]] = (
    ("r2", "R²", number),
    ("mae", "mean absolute error", number),
    ("mse", "mean squared error", number),
)
_OF_CLASSES: Final[tuple[_Written, ...]] = (
    ("accuracy", "accuracy", points),
    ("balanced_accuracy", "balanced accuracy", points),
    ("precision_macro", "precision, macro", points),
    ("recall_macro", "recall, macro", points),
    ("f1_macro", "F1, macro", points),
    ("precision_micro", "precision, micro", points),
    ("recall_micro", "recall, micro", points),
    ("f1_micro", "F1, micro", points),
    ("auroc", "AUROC", points),
)


def adaptation(study: StudyRecords) -> list[Block]:
    """The four losses G and F, and what tuning gained."""
    found, metric = study.measures, scale(study.row["test_metric"])
    if found.mean("loss") is None and found.mean("loss_before") is None:
        return [Missing(what="Loss before and after tuning (G and F)", how=study.not_evaluated)]
    rows = [
        ("loss on test (G)", *(number(found.mean(name)) for name in ("loss_before", "loss"))),
        ("loss on training data (F)", *(number(found.mean(n, split="train")) for n in ("loss_before", "loss"))),
        (f"test {metric.label}", *(metric.text(found.mean(name)) for name in ("score_before", "score"))),
    ]
    if study.row["test_metric"] not in ("accuracy", "r2"):
        rows.append(("test accuracy, points", *(points(found.mean(n)) for n in ("accuracy_before", "accuracy"))))
    gains = (
        ("gap of the losses, test minus training", "gap_loss", number),
        (f"gap of {metric.name}, training minus test", "gap_score", metric.text),
        ("gain over the linear probe", "gain_probe", metric.text),
        ("share of the probe's errors removed", "gain_probe_relative", percent),
    )
    rows += [(title, DASH, text(found.anywhere(name))) for title, name, text in gains]
    return [
        Table(
            caption=f"{study.short} before tuning (pretrained, with a fitted head) and after: {study.measured_on}",
            columns=("measure", "before", "after"),
            rows=tuple(rows),
        )
    ]


def quality(study: StudyRecords) -> list[Block]:
    """Every score of the test set, and the classes one by one."""
    found = study.measures
    names = _OF_NUMBERS if study.is_regression else _OF_CLASSES
    rows = [(title, *found.cells(name, text)) for name, title, text in names if found.mean(name) is not None]
    if not rows:
        return [Missing(what="Quality beyond the score", how=study.not_evaluated)]
    unit = "" if study.is_regression else ", in points"
    blocks: list[Block] = [
        Table(
            caption=f"Test quality of {study.short}{unit}: {study.measured_on}; sd is between confirmations",
            columns=("measure", "mean", "sd"),
            rows=tuple(rows),
        )
    ]
    targets = [c for c in found.conditions("r2") if c.startswith("target:")]
    if targets:
        blocks.append(
            Table(
                caption="By target",
                columns=("target", *(title for _, title, _ in names)),
                rows=tuple(
                    (c.removeprefix("target:"), *(text(found.mean(name, c)) for name, _, text in names))
                    for c in targets
                ),
                folded=True,
            )
        )
    classes = [c for c in found.conditions("f1") if c.startswith("class:")]
    if classes:
        shown = classes[:_MOST_CLASSES]
        rest = f"; the first {len(shown)} of {len(classes)} classes" if len(shown) < len(classes) else ""
        blocks.append(
            Table(
                caption=f"By class, in points{rest}",
                columns=("class", "precision", "recall", "F1", "test samples"),
                rows=tuple(
                    (
                        name.removeprefix("class:"),
                        *(points(found.mean(measure, name)) for measure in ("precision", "recall", "f1")),
                        number(found.mean("num", name)),
                    )
                    for name in shown
                ),
                folded=True,
            )
        )
    return blocks


def few_labels(study: StudyRecords) -> list[Block]:
    """The chosen configuration trained on shares of the training data."""
    metric = scale(study.row["test_metric"])
    by_share: dict[float, list[float]] = defaultdict(list)
    num_out = 0
    for run in study.runs:
        if run["phase"] in ("reduced", "confirmation") and run["number"] in study.tests:
            if run["number"] in study.collapsed:
                num_out += 1
            else:
                by_share[run["train_frac"]].append(study.tests[run["number"]]["test_score"])
    if len(by_share) < 2:
        how = "set confirmation.train_fracs, e.g. [0.1, 0.3], in the sweep file"
        return [Missing(what="Data efficiency", how=how)]
    out = f"; {plural(num_out, 'collapsed run')} left out" if num_out else ""
    return [
        Table(
            caption=f"{study.short} with few labels: the chosen configuration on shares of the training data, "
            f"{study.num_test}{out}",
            columns=("share of the training data", "runs", f"test {metric.label}", "sd"),
            rows=tuple(
                (
                    percent(share),
                    str(len(scores)),
                    metric.text(float(np.mean(scores))),
                    metric.text(float(np.std(scores, ddof=1)) if len(scores) > 1 else None),
                )
                for share, scores in sorted(by_share.items())
            ),
        )
    ]


def confusions(study: StudyRecords) -> list[Block]:
    """Which class is taken for which."""
    found = study.evaluated.confusion
    if study.is_regression:
        return []
    if found is None:
        return [Missing(what="A confusion matrix", how=study.not_evaluated)]
    if len(found.class_names) > _MOST_CLASSES:
        how = f"{len(found.class_names)} classes are more than can be read here; it is in the folder evaluations/"
        return [Missing(what="The confusion matrix", how=how, label="Not shown")]
    mistakes = found.counts - np.diag(np.diag(found.counts))
    order = np.argsort(mistakes, axis=None, kind="stable")[::-1][:5]
    worst = [
        (found.class_names[row], found.class_names[column], str(int(mistakes[row, column])))
        for row, column in zip(*np.unravel_index(order, mistakes.shape), strict=True)
        if mistakes[row, column] > 0
    ]
    total, num_classes = int(found.counts.sum()), len(found.class_names)
    right = percent(float(np.trace(found.counts)) / max(total, 1))
    seen = listed([f"{label(true)} taken for {label(answer)} ({num})" for true, answer, num in worst[:3]])
    return [
        Figure(
            svg=confusion(f"{study.anchor}-confusion", found.class_names, found.counts),
            alt=f"Answers of {study.short} over {num_classes} classes: {right} right; {seen or 'no mistake'}.",
            caption=f"Answers of {study.short} by true class, in percent of the class.",
            basis=study.basis(
                num=f"{total} answers: the test samples of {plural(found.num_runs, 'confirmation')} together",
                unmeasured="how far a single cell would move with another test set",
            ),
            wide=num_classes > NUMBERED,
            table=Table(
                caption="The most frequent mistakes",
                columns=("true class", "answer", "samples"),
                rows=tuple(worst),
                words=frozenset({1}),
            ),
        )
    ]


def measured_cost(study: StudyRecords, name: str) -> float | None:
    """One of EFFICIENCY: mean over the confirmations, of which the trials' table knows some."""
    if name not in _OF_RUNS:
        return study.measures.anywhere(name)
    known = [float(run[name]) for run in study.confirmations if run[name] is not None]
    return float(np.mean(known)) if known else None


def efficiency(study: StudyRecords) -> list[Block]:
    """What the confirmed configuration costs to train, to keep and to use."""
    found = study.measures
    costs = ((title, text, measured_cost(study, name)) for name, title, text in EFFICIENCY)
    rows = tuple((title, text(value)) for title, text, value in costs if value is not None)
    if not found.num_runs:
        return [Missing(what="Efficiency", how=study.not_evaluated)]
    device = next((run["device"] for run in study.confirmations if run["device"]), "an unknown device")
    return [
        Table(
            caption=f"Efficiency of {study.short} on {device}: mean of {study.seeds}",
            columns=("measure", "value"),
            rows=rows,
        )
    ]
