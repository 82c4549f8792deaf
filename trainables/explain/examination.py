"""All explanations of one answer, and how good each is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from trainables.explain.explainers import Attribution, Explainer
from trainables.explain.faithfulness import Areas, areas, random_areas
from trainables.explain.question import Network, Question

__all__ = ["Examination", "examine", "rank_correlation"]

_CONTROL_SEED: Final = 2**31
"""Added to the seed of a control's explanations: the same perturbed samples would give the same sampling error to
both, and KernelSHAP then finds a likeness (0.6 on an untrained network) that is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """Of one answer, by the names of explainers."""

    question: Question
    attributions: Mapping[str, Attribution]
    areas: Mapping[str, Areas]
    random: Areas

    similarity: Mapping[str, float]
    """Spearman's rank correlation, in [-1, 1], with the explanation of the same answer of a network that learned
    nothing; NaN where all pieces of one are equal."""

    def faithfulness(self, name: str) -> float:
        """Insertion minus deletion area, minus the same of random orders."""
        found = self.areas[name]
        return (found.insertion - found.deletion) - (self.random.insertion - self.random.deletion)


def examine(question: Question, control: Network, explainers: Mapping[str, Explainer]) -> Examination:
    """Explain an answer in several ways, and the control's share of the same answer to compare.

    Of n pieces (49 of an image) KernelSHAP takes `num_drawn(n)` forward passes of one sample, LIME a quarter more,
    integrated gradients 32 forward and backward and Grad-CAM two forward and one backward: all of it for the network
    and once more for the control. Areas take 34 passes per explainer and 68 for random orders. That is 1,155
    forward and 66 backward passes for an image, 523 and 64 for a sound, at most 1,387 and 64 for a text.

    Args:
        control: a network with the same kind of outputs that learned nothing (`randomised`).
        explainers: by name.
    """
    attributions = {name: explainer(question) for name, explainer in explainers.items()}
    controlled = replace(question, network=control, seed=question.seed + _CONTROL_SEED)
    return Examination(
        question=question,
        attributions=attributions,
        areas={name: areas(question, found.values) for name, found in attributions.items()},
        random=random_areas(question),
        similarity={
            name: rank_correlation(attributions[name].values, explainer(controlled).values)
            for name, explainer in explainers.items()
        },
    )


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's of two attributions of the same pieces, in [-1, 1]; NaN where all pieces of one are equal."""
    from scipy.stats import rankdata

    ranks = rankdata(torch.stack([one, other]).numpy(), axis=1)
    return float(torch.corrcoef(torch.from_numpy(ranks))[0, 1])
