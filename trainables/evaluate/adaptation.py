"""What tuning has changed: losses and scores before and after it, on training and on test samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from trainables.evaluate.findings import Findings, Measure, SplitName
from trainables.evaluate.probability import example_losses
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.objective import Classification, MultiLabel, Objective

__all__ = ["Standing", "adaptation", "compared"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How good a network is on a split."""

    loss: float
    """Mean over samples, in nats or as `Regression.loss` has it."""

    score: float
    """The task's main metric; 1 is perfect."""

    accuracy: float | None
    """None for a regression."""

    @classmethod
    def of(cls, objective: Objective, outputs: Tensor, targets: Tensor) -> Standing:
        quality = objective.quality(outputs, targets)
        loss = float(example_losses(objective, outputs, targets).mean())
        return cls(loss=loss, score=quality.score(objective.metric), accuracy=quality.accuracy)


def adaptation(subject: Subject, evaluation: Evaluation) -> Findings:
    """Loss and main metric of θ with a fitted head and of θ', the gap between splits, and what tuning gained.

    All in eval mode and without augmentation. Training samples are `Subject.measured_train`: their loss falls
    by memorising alone, so it describes and takes no part in a ranking.
    """
    objective, test, train = subject.objective, subject.task.test, subject.measured_train
    measures = compared(
        before_train=Standing.of(objective, subject.predict_probe(train), train.targets),
        before_test=Standing.of(objective, subject.predict_probe(test), test.targets),
        train=Standing.of(objective, subject.predict(train), train.targets),
        test=Standing.of(objective, subject.predict(test), test.targets),
    )
    if isinstance(objective, Classification | MultiLabel):
        num = objective.num_outputs if isinstance(objective, Classification) else 2
        measures = (*measures, Measure(name="loss_uniform", value=math.log(num)))
    notes: tuple[str, ...] = ()
    if len(train) < len(subject.task.train):
        notes = (f"adaptation: {len(train):,} of {len(subject.task.train):,} training samples were measured, evenly",)
    return Findings(measures=measures, notes=notes)


def compared(*, before_train: Standing, before_test: Standing, train: Standing, test: Standing) -> tuple[Measure, ...]:
    """Everything that follows from how θ and θ' stand on the two splits."""
    measures = [
        Measure(name="gap_loss", value=test.loss - train.loss),
        Measure(name="gap_score", value=train.score - test.score),
        Measure(name="gain_probe", value=test.score - before_test.score),
        Measure(name="gain_probe_relative", value=_relative_gain(before_test.score, test.score)),
    ]
    measures += _standing(before_train, "train", "_before") + _standing(before_test, "test", "_before")
    return (*measures, *_standing(train, "train"), *_standing(test, "test"))


def _standing(standing: Standing, split: SplitName, suffix: str = "") -> list[Measure]:
    """Each figure; of θ' on test its accuracy is `quality`'s."""
    values = {"loss": standing.loss, "score": standing.score, "accuracy": standing.accuracy}
    if split == "test" and not suffix:
        del values["accuracy"]
    return [
        Measure(name=f"{name}{suffix}", value=value, split=split) for name, value in values.items() if value is not None
    ]


def _relative_gain(before: float, after: float) -> float:
    """Share of the errors of before that are gone, at most 1; not a number where there were none."""
    return (after - before) / (1 - before) if before < 1 else float("nan")
