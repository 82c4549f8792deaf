"""Whether the pieces that an explanation puts first are those that carry the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from trainables.explain.question import Question

__all__ = ["Areas", "areas", "random_areas"]

_NUM_STEPS: Final = 16
"""In which pieces are taken away, or put back."""

_NUM_RANDOM: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Areas:
    """Areas under the share of the answer, relative to the whole sample's, over the share of pieces: 1 is an
    answer that never changes. Above 1 where it grows as pieces go."""

    deletion: float
    """While pieces are taken away, first the one that ranks first: small is good."""

    insertion: float
    """While pieces are put into the sample without any: large is good."""


def areas(question: Question, ranking: Tensor) -> Areas:
    """Deletion and insertion areas (Petsiuk et al. 2018, arXiv:1806.07421) of an order of pieces, in at most 16
    steps: 34 forward passes.

    Args:
        ranking: a number per piece, (pieces,); the largest goes first, the earlier of equal ones.
    """
    num = question.pieces.num
    place = torch.empty(num, dtype=torch.int64)
    place[ranking.argsort(descending=True, stable=True)] = torch.arange(num)
    counts = torch.linspace(0, num, min(num, _NUM_STEPS) + 1).round().long()
    first = place < counts.unsqueeze(1)  # (steps + 1, pieces): whether the piece is among the first so many
    relative = question.shares(torch.cat([~first, first])).double() / question.whole
    deleted, inserted = relative.view(2, len(counts))
    width = counts.double() / num
    return Areas(deletion=float(torch.trapezoid(deleted, width)), insertion=float(torch.trapezoid(inserted, width)))


def random_areas(question: Question) -> Areas:
    """The same of random orders: 68 forward passes.

    An order deletes by the same inputs by which its reverse inserts. So the mean over orders and their reverses is
    one number for both areas, and what faithfulness subtracts, their difference, is exactly 0 and adds no noise.
    """
    generator = torch.Generator().manual_seed(question.seed)
    found = [areas(question, torch.rand(question.pieces.num, generator=generator)) for _ in range(_NUM_RANDOM)]
    level = sum(one.deletion + one.insertion for one in found) / (2 * len(found))
    return Areas(deletion=level, insertion=level)
