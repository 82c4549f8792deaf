"""Measure a confirmation in every way that was asked for, and never lose it over a measurement."""

from __future__ import annotations

import math
import time
import traceback
from typing import Any, Final

from orchestrator.errors import one_line, redact
from orchestrator.evaluated import leave_findings
from orchestrator.workers.request import RunRequest
from trainables.errors import TrainableError
from trainables.evaluate import Evaluator, Findings, Measure, evaluate
from trainables.evaluation import Evaluation
from trainables.finetune import Finetuner

__all__ = ["evaluate_run"]

_MAX_REASON: Final = 300


def evaluate_run(finetuner: Finetuner, evaluation: Evaluation, request: RunRequest) -> dict[str, Any]:
    """Evaluate a trained run and leave the findings beside its test file.

    An evaluator that fails takes neither the run nor the others with it: its failure is a note that people
    are shown, and of a bug the traceback is in the run's error file.

    Returns:
        The part of a `TESTS` row that was found.

    Raises:
        OSError: the disk is full or gone.
    """
    started = time.perf_counter()
    failures: list[str] = []
    bugs: list[str] = []

    def note(evaluator: Evaluator, error: Exception) -> None:
        name = getattr(evaluator, "__name__", repr(evaluator))
        reason = str(error) if isinstance(error, TrainableError) else f"{type(error).__name__}: {error}"
        failures.append(f"evaluation failed: {name}: {one_line(redact(reason))[:_MAX_REASON]}")
        if not isinstance(error, TrainableError):
            bugs.append(redact("".join(traceback.format_exception(error))))

    found = evaluate(finetuner, evaluation, on_failure=note)
    found += Findings(measures=(Measure(name="evaluation_s", value=time.perf_counter() - started),))
    if bugs:
        request.error_file.write_text("\n".join(bugs), encoding="utf-8")
    leave_findings(request.test_file, found, class_names=finetuner.task.class_names, failures=failures)
    scores = found.perturbed_example_scores
    if scores is None or found.perturbed_score is None or not math.isfinite(found.perturbed_score):
        return {}
    return {"perturbed_score": float(found.perturbed_score), "perturbed_example_scores": scores.tolist()}
