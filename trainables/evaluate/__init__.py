"""Customizability metrics of a fine-tuned network: each evaluator is a function from a subject to findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import torch

from trainables.evaluate.findings import Findings, Measure, Picture
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.finetune import Finetuner

__all__ = ["EVALUATORS", "Evaluator", "Findings", "Measure", "Picture", "Subject", "evaluate"]

Evaluator: TypeAlias = Callable[[Subject, Evaluation], Findings]
"""Measures one side of a subject. Raises TrainableError where the task's kind allows it and it cannot be done;
what the kind of task does not have is left out of the findings, with a note."""

EVALUATORS: Final[tuple[Evaluator, ...]] = ()
"""In the order in which they run."""


def evaluate(finetuner: Finetuner, evaluation: Evaluation) -> Findings:
    """Measure the best epoch's weights in every way; training may go on afterwards.

    Raises:
        ValueError: no epoch has been completed.
        InvalidConfig: something is asked for that needs an extra which is not installed; the message has the
            pip line.
    """
    devices = [finetuner.device] if finetuner.device.type == "cuda" else []
    with finetuner.at_best(), torch.random.fork_rng(devices=devices):
        subject = Subject(finetuner)
        return Findings.joined(evaluator(subject, evaluation) for evaluator in EVALUATORS)
