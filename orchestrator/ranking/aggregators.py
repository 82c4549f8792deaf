"""Ways to make one order from the scores of K backbones on D tasks. All take shape (D, K) and return (K,).

Only the anchored mean is a score. The others judge a backbone by who else is in the table: a third one that
joins or leaves can turn two others round. They are here to be looked at side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from orchestrator.ranking.interval import Array

__all__ = [
    "AGGREGATORS",
    "LOWER_IS_BETTER",
    "anchored_mean",
    "bradley_terry",
    "interquartile_mean",
    "mean_rank",
    "mean_z_score",
]

_RIDGE = 0.05
"""On the squared strengths. Who wins every task has no finite maximum-likelihood strength; with this it has one,
and the order among all others moves by nothing that matters."""


def anchored_mean(scores: Array) -> Array:
    """Mean over tasks of scores whose 0 is chance and whose 1 is perfect on every one of them."""
    mean: Array = scores.mean(axis=0)
    return mean


def interquartile_mean(scores: Array) -> Array:
    """Mean without the lowest and the highest quarter of tasks (Agarwal et al. 2021, arXiv:2108.13264)."""
    cut = len(scores) // 4
    trimmed: Array = np.sort(scores, axis=0)[cut : len(scores) - cut].mean(axis=0)
    return trimmed


def mean_z_score(scores: Array) -> Array:
    """Mean over tasks of (score - mean) / sd over the backbones; 0 on a task where all are equal."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    sd = scores.std(axis=1, keepdims=True)
    standardised: Array = np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 1e-12).mean(axis=0)
    return standardised


def mean_rank(scores: Array) -> Array:
    """Mean over tasks of the rank, 1 is best, ties share the mean: the order of Borda's count."""
    greater, equal = scores[:, None, :] > scores[:, :, None], scores[:, None, :] == scores[:, :, None]
    ranks: Array = (0.5 + greater.sum(axis=2) + equal.sum(axis=2) / 2).mean(axis=0)
    return ranks


def bradley_terry(scores: Array) -> Array:
    """Log strengths, mean 0, from who beats whom on how many tasks; a tie is half a win for each.

    Bradley and Terry 1952, maximum likelihood with a weak normal prior. Margins are lost: a win is a win.
    """
    from scipy.optimize import minimize  # here: it takes as long to import as everything else of the ranking

    count = scores.shape[1]
    wins = np.sum((scores[:, :, None] > scores[:, None, :]) + 0.5 * (scores[:, :, None] == scores[:, None, :]), axis=0)
    np.fill_diagonal(wins, 0.0)

    def cost(strengths: Array) -> tuple[float, Array]:
        gaps = strengths[:, None] - strengths[None, :]
        value = float(np.sum(wins * np.logaddexp(0.0, -gaps)) + 0.5 * _RIDGE * np.sum(strengths**2))
        pull = wins * expit(-gaps)
        slope: Array = pull.sum(axis=0) - pull.sum(axis=1) + _RIDGE * strengths
        return value, slope

    found = minimize(cost, np.zeros(count), jac=True, method="L-BFGS-B").x
    strengths: Array = found - found.mean()
    return strengths


AGGREGATORS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "anchored_mean": anchored_mean,
        "mean_z_score": mean_z_score,
        "mean_rank": mean_rank,
        "bradley_terry": bradley_terry,
    }
)
LOWER_IS_BETTER = ("mean_rank",)
