"""What is left of a score when each input is changed, within limits, against the network: two white-box attacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from trainables.batches import eval_batches
from trainables.data import Split
from trainables.evaluate.answers import Answers, why_unmeasured
from trainables.evaluate.chosen import chosen
from trainables.evaluate.findings import Findings
from trainables.evaluate.subject import Subject
from trainables.evaluate.surfaces import EPSILONS, Surface, surface_of
from trainables.evaluation import Evaluation
from trainables.perturbations.contract import generator
from trainables.preprocessing import State
from trainables.splitting import InParts

__all__ = ["Adversary", "attacks"]

NUM_STEPS: Final = 10
STEP_FRAC: Final = 2.5 / NUM_STEPS
"""Of ε that a step of PGD goes: from anywhere within ε the farthest corner is in reach, and steps are left."""


def attacks(subject: Subject, evaluation: Evaluation) -> Findings:
    """The score on at most `Evaluation.num_attacked` test samples under FGSM and PGD, each within two distances ε:
    `attacked_score`, the task's main metric, and `attacked_accuracy` unless the task is a regression, of the
    conditions ``fgsm:<ε>`` and ``pgd:<ε>``, and of ``clean``, the same samples as they are.

    FGSM (Goodfellow et al. 2014, arXiv 1412.6572) goes by ε along the sign of the loss's gradient. PGD in the maximum
    norm (Madry et al. 2017, arXiv 1706.06083) starts anywhere within ε, drawn for each sample, goes 10 steps of ε/4
    along that sign, and is put back within ε after each; its last step counts. Both know the targets. What is
    changed, and what ε means, depends on the modality: see `surfaces`.

    Raises:
        OutOfMemory: memory does not hold a single sample.
    """
    if not evaluation.num_attacked:
        return Findings(notes=("attacks: not made, as evaluation.num_attacked is 0",))
    part = chosen(subject.task.test, evaluation.num_attacked)
    problem = why_unmeasured(subject.objective, part)
    if problem is not None:
        return Findings(notes=(f"attacks: not made, as {problem}",))
    adversary = Adversary(subject)
    outputs: dict[str, list[Tensor]] = {}
    batches = eval_batches(part)
    with subject.differentiable():
        for positions in batches:
            attacked = adversary.batch(part, positions)
            if attacked is None:
                return Findings(notes=("attacks: not made, as block 0 gives no vector for each token",))
            for condition, found in attacked:
                outputs.setdefault(condition, []).append(found.cpu())
    order = torch.cat(batches).argsort()
    answers = {
        condition: Answers.of(subject.objective, torch.cat(parts)[order], part.targets)
        for condition, parts in outputs.items()
    }
    return Findings(measures=tuple(m for condition, a in answers.items() for m in a.measures("attacked", condition)))


class Adversary:
    """Attacks a subject. Of the network it reads gradients with respect to inputs, and leaves none behind."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._in_parts = InParts(subject.device)

    def batch(self, split: Split, positions: Tensor) -> Iterator[tuple[str, Tensor]] | None:
        """Conditions and outputs of the samples at `positions`; None where their modality has no `Surface`."""
        subject = self._subject
        surface = surface_of(subject, subject.encoded(split, positions))
        if surface is None:
            return None
        targets = split.targets[positions].to(subject.device)
        return self._attacked(surface, targets, split.rows[positions].tolist())

    def fgsm(self, surface: Surface, targets: Tensor, epsilon: float) -> Tensor:
        """Values of the surface, moved once by ε."""
        return _moved(surface, surface.values, self.gradient(surface, surface.values, targets), epsilon, epsilon)

    def pgd(self, surface: Surface, targets: Tensor, epsilon: float, rows: list[int]) -> Tensor:
        """Values of the surface, moved step by step within ε.

        Args:
            rows: of the samples in their dataset: they decide where each begins.
        """
        values = _within(surface, surface.values + epsilon * surface.radius * _start(surface, rows), epsilon)
        for _ in range(NUM_STEPS):
            values = _moved(surface, values, self.gradient(surface, values, targets), STEP_FRAC * epsilon, epsilon)
        return values

    def gradient(self, surface: Surface, values: Tensor, targets: Tensor) -> Tensor:
        """Of each sample's loss with respect to its values, shaped as they are."""

        def of_part(state: State) -> Tensor:
            shown, its_targets, *rest = state
            with torch.enable_grad():
                shown = shown.detach().requires_grad_()
                outputs = surface.outputs((shown, *rest))
                # The sum and not the mean: a sample's gradient must not depend on how many share its batch.
                loss = self._subject.objective.loss(outputs, its_targets) * len(its_targets)
            (gradient,) = torch.autograd.grad(loss, shown)
            return gradient

        return self._in_parts(of_part, (values, targets, *surface.rest), "gradient")

    def outputs(self, surface: Surface, values: Tensor) -> Tensor:
        with torch.no_grad():
            return self._in_parts(surface.outputs, (values, *surface.rest), "outputs")

    def _attacked(self, surface: Surface, targets: Tensor, rows: list[int]) -> Iterator[tuple[str, Tensor]]:
        yield "clean", self.outputs(surface, surface.values)
        for name, epsilon in EPSILONS[self._subject.task.preprocessing.modality].items():
            yield f"fgsm:{name}", self.outputs(surface, self.fgsm(surface, targets, epsilon))
            yield f"pgd:{name}", self.outputs(surface, self.pgd(surface, targets, epsilon, rows))


def _moved(surface: Surface, values: Tensor, gradient: Tensor, by: float, epsilon: float) -> Tensor:
    return _within(surface, values + by * surface.radius * gradient.sign(), epsilon)


def _within(surface: Surface, values: Tensor, epsilon: float) -> Tensor:
    reach = epsilon * surface.radius
    nearest = torch.minimum(torch.maximum(values, surface.values - reach), surface.values + reach)
    return nearest.clamp(surface.low, surface.high)


def _start(surface: Surface, rows: list[int]) -> Tensor:
    """Uniform in [-1, 1), drawn by sample; along padded dimensions a longer batch only adds draws at the end."""
    shape = tuple(surface.values.shape[1:])
    draws = np.stack([generator("pgd", row).random(shape, dtype=np.float32) for row in rows])
    return torch.from_numpy(2 * draws - 1).to(surface.values.device)
