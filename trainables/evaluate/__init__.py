"""Customizability metrics of a fine-tuned network: each evaluator is a function from a subject to findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import torch

from trainables.evaluate.adaptation import adaptation
from trainables.evaluate.attacks import attacks
from trainables.evaluate.calibration import calibration
from trainables.evaluate.drift import drift
from trainables.evaluate.efficiency import efficiency
from trainables.evaluate.findings import Findings, Measure, Picture
from trainables.evaluate.interpretability import interpretability
from trainables.evaluate.quality import quality
from trainables.evaluate.robustness import robustness
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.finetune import Finetuner

__all__ = ["EVALUATORS", "Evaluator", "Findings", "Measure", "Picture", "Subject", "evaluate"]

Evaluator: TypeAlias = Callable[[Subject, Evaluation], Findings]
"""Measures one side of a subject. Raises TrainableError where the task's kind allows it and it cannot be done;
what the kind of task does not have is left out of the findings, with a note."""

EVALUATORS: Final[tuple[Evaluator, ...]] = (
    quality,
    calibration,
    adaptation,
    drift,
    efficiency,
    robustness,
    attacks,
    interpretability,
)
"""In the order in which they run."""


def evaluate(
    finetuner: Finetuner, evaluation: Evaluation, *, on_failure: Callable[[Evaluator, Exception], None] | None = None
) -> Findings:
    """Measure the best epoch's weights in every way; training may go on afterwards.

    Args:
        on_failure: is told of an evaluator that raised, and the others go on; None lets it raise.

    Raises:
        ValueError: no epoch has been completed.
        InvalidConfig: something is asked for that needs an extra which is not installed; the message has the
            pip line.
    """
    devices = [finetuner.device] if finetuner.device.type == "cuda" else []
    with finetuner.at_best(), torch.random.fork_rng(devices=devices):
        subject = Subject(finetuner)
        found = []
        for evaluator in EVALUATORS:
            try:
                found.append(evaluator(subject, evaluation))
            except Exception as error:
                if on_failure is None:
                    raise
                on_failure(evaluator, error)
        return Findings.joined(found)
