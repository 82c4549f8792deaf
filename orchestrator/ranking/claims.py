"""What may be claimed about K scores of one task, whatever they were computed from."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from orchestrator.ranking.interval import Array, Simultaneous, joint_draws, simultaneous
from orchestrator.ranking.options import RankingOptions
from orchestrator.ranking.purchase import Variances
from orchestrator.ranking.scale import FLOOR

__all__ = ["Claims", "TaskScores", "own_interval"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScores:
    """Scores of the ranked backbones of a task, the best first, and how far they may be off."""

    task: str
    backbones: tuple[str, ...]
    scores: Array
    """Chance-normalised, (K,)."""
    seed_variances: Array
    """(K,), score units squared."""
    own_examples: Array
    """Variance that the finite test set adds to each by itself, (K,)."""
    examples: Array
    """The same jointly, paired over examples: (K, K), positive semidefinite."""
    regret_squares: Array
    """Mean square of how much better each could be than what was found, (K,)."""
    has_errors: bool = True
    """Whether the errors were measured. Where they were not they are 0, and nothing is known but the order."""

    @property
    def covariance(self) -> Array:
        """Of the errors of what was found: (K, K)."""
        return self.examples + np.diag(self.seed_variances)

    @property
    def own_variances(self) -> Array:
        """Of each score by itself: (K,). Depends on no other backbone."""
        return self.seed_variances + self.own_examples


class Claims:
    """Rank intervals, probabilities and pairs. With one backbone there is little to claim, with none nothing."""

    def __init__(self, given: TaskScores, options: RankingOptions) -> None:
        self.given = given
        self.options = options
        self.found = self._compare(np.zeros(len(given.scores)))
        self.attainable = self._compare(given.regret_squares)

    def _compare(self, regret_squares: Array) -> Simultaneous:
        given, options = self.given, self.options
        return simultaneous(given.scores, given.covariance, options.confidence, options.seed, regret_squares)

    @cached_property
    def ranks(self) -> list[int]:
        """1-based, by score; equal scores share the better rank."""
        return [1 + int(np.sum(self.given.scores > score)) for score in self.given.scores]

    @cached_property
    def p_best(self) -> Array:
        """Of each that it is the best: (K,), summing to 1."""
        given = self.given
        draws = given.scores + joint_draws(given.covariance + np.diag(given.regret_squares), self.options.seed)
        top = draws >= draws.max(axis=1, keepdims=True)
        shares: Array = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
        return shares

    def pairs(self) -> list[dict[str, Any]]:
        """Rows of PAIRS, without `p_single_run`."""
        given, eps = self.given, self.options.eps
        limits = self.attainable.critical * self.attainable.sd
        rows = []
        for a, b in itertools.combinations(range(len(given.scores)), 2):
            difference = float(given.scores[a] - given.scores[b])
            sd = math.sqrt(float(self.attainable.sd[a, b] ** 2) + float(given.regret_squares[a]))
            rows.append(
                {
                    "task": given.task,
                    "a": given.backbones[a],
                    "b": given.backbones[b],
                    "difference": difference,
                    "ci_low": difference - float(limits[a, b]),
                    "ci_high": difference + float(limits[b, a]),
                    "p_a_beats_b": _p_positive(difference, sd),
                    "p_tied": _p_positive(difference + eps, sd) - _p_positive(difference - eps, sd),
                    "distinguishable": bool(self.attainable.better[a, b]),
                }
            )
        return rows

    def top_variances(self) -> Variances:
        """Parts of the variance of the top two's difference, or of the only score."""
        top = slice(0, 2)
        examples = self.given.examples[top, top]
        contrast = np.array([1.0, -1.0])[: len(examples)]
        return Variances(
            seeds=float(self.given.seed_variances[top].sum()),
            examples=max(float(contrast @ examples @ contrast), 0.0),
            tuning=float(self.given.regret_squares[top][-1]),  # of the one that is held to be worse
        )


def own_interval(
    score: float, variance: float, confidence: float, *, regret_square: float = 0.0
) -> tuple[float, float]:
    """Ends of the interval of one score by itself, in [FLOOR, 1].

    regret_square: what a backbone can attain is never below what was found, so it widens the upper end only.
    """
    quantile = float(ndtri(0.5 + confidence / 2))
    low, high = score - quantile * math.sqrt(variance), score + quantile * math.sqrt(variance + regret_square)
    return max(FLOOR, low), min(1.0, high)


def _p_positive(mean: float, sd: float) -> float:
    """P(N(mean, sd^2) > 0); one half for a certain zero."""
    if sd <= 0:
        return 0.5 if mean == 0 else float(mean > 0)
    return float(ndtr(mean / sd))
