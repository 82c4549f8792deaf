"""How much of a score is left on perturbed inputs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
import torch
from torch import Tensor

from trainables.batches import eval_batches
from trainables.data import Split
from trainables.evaluate.answers import Answers, why_unmeasured
from trainables.evaluate.chosen import chosen
from trainables.evaluate.findings import Findings, Measure
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.perturbations import perturbed_splits
from trainables.preprocessing import State
from trainables.splitting import InParts

__all__ = ["robustness"]

ABOVE_CHANCE: Final = 0.05
"""What is less than this better than guessing has nothing to lose: its drop is not defined."""


def robustness(subject: Subject, evaluation: Evaluation) -> Findings:
    """The score on at most `Evaluation.num_perturbed` test samples, the same for every backbone, under every
    perturbation of the modality at three severities (`trainables.perturbations`).

    Of each condition ``<perturbation>:<severity>``, and of ``clean``: `perturbed_score`, the task's main metric, and
    `perturbed_accuracy` unless the task is a regression. Of each perturbation, and of all together (condition ""),
    as means over conditions: `robust_drop`, accuracy (of a regression R²) minus the clean one, 0 for unhurt and in
    [-1, 1] (of a regression without a lower limit), not a number where the clean one is less than 0.05 above the best
    constant answer's; and `flip_rate`, the share of samples that are answered otherwise than clean, in [0, 1], unless
    the task is a regression.

    Raises:
        DataError: texts or sounds cannot be read again, or have changed.
        OutOfMemory: memory does not hold a single sample.
    """
    if evaluation.perturbations == "none":
        return Findings(notes=("robustness: not measured, as evaluation.perturbations is none",))
    part = chosen(subject.task.test, evaluation.num_perturbed)
    problem = why_unmeasured(subject.objective, part)
    if problem is not None:
        return Findings(notes=(f"robustness: not measured, as {problem}",))
    answer = _Answering(subject, part)
    clean = answer(part)
    found: dict[str, list[Answers]] = defaultdict(list)
    for name, _, split in perturbed_splits(subject.task, part):
        found[name].append(answer(split))
    measures = _Comparison(clean=clean, chance=_chance(subject)).measures(found)
    return Findings(measures=tuple(measures)) + _condition([a for severities in found.values() for a in severities])


class _Answering:
    """Asks θ' for samples that no cache of activations holds."""

    def __init__(self, subject: Subject, part: Split) -> None:
        self._subject = subject
        # The same batches of the same samples whatever is done to them, so that nothing but that differs.
        self._batches = eval_batches(part)
        self._in_parts = InParts(subject.device)

    def __call__(self, split: Split) -> Answers:
        with torch.inference_mode():
            parts = [
                self._in_parts(self._outputs, self._subject.encoded(split, positions)).cpu()
                for positions in self._batches
            ]
        outputs = torch.cat(parts)[torch.cat(self._batches).argsort()]
        return Answers.of(self._subject.objective, outputs, split.targets)

    def _outputs(self, encoded: State) -> Tensor:
        return self._subject.outputs(self._subject.prepared(encoded))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    clean: Answers
    chance: float
    """`Answers.right` of the best constant answer."""

    def measures(self, found: dict[str, list[Answers]]) -> Iterator[Measure]:
        """
        Args:
            found: of each perturbation by severity.
        """
        yield from self.clean.measures("perturbed", "clean")
        for name, severities in found.items():
            for severity, answers in enumerate(severities, 1):
                yield from answers.measures("perturbed", f"{name}:{severity}")
        yield from self._losses("", [answers for severities in found.values() for answers in severities])
        for name, severities in found.items():
            yield from self._losses(name, severities)

    def _losses(self, condition: str, found: Sequence[Answers]) -> Iterator[Measure]:
        can_lose = self.clean.right >= self.chance + ABOVE_CHANCE
        drop = fmean(answers.right - self.clean.right for answers in found) if can_lose else math.nan
        yield Measure(name="robust_drop", value=drop, condition=condition)
        if self.clean.given is not None:
            flip_rate = fmean(answers.flipped_from(self.clean) for answers in found)
            yield Measure(name="flip_rate", value=flip_rate, condition=condition)


def _chance(subject: Subject) -> float:
    """Accuracy on the test split of the best constant answer; of a regression its R²."""
    targets = subject.task.test.targets
    if subject.objective.metric == "r2":
        return subject.objective.chance
    return int(np.unique(targets.numpy(), axis=0, return_counts=True)[1].max()) / len(targets)


def _condition(every: Sequence[Answers]) -> Findings:
    """What the ranking takes as its condition *perturbed inputs*."""
    score = fmean(answers.score for answers in every)
    if not math.isfinite(score):
        return Findings(notes=("robustness: some outputs for perturbed inputs are not finite, so it is not ranked",))
    example_scores = np.stack([answers.example_scores for answers in every])
    return Findings(perturbed_score=score, perturbed_example_scores=example_scores.mean(axis=0))
