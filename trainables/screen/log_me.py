"""LogME: how well a Bayesian linear model of the features explains the targets."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

__all__ = ["log_me"]

Floats: TypeAlias = npt.NDArray[np.float64]

MAX_ROUNDS: Final = 100
TOLERANCE: Final = 1e-5
"""Relative change of the ratio of the two precisions at which the search ends."""

LIMIT: Final = 1e10
"""Farthest that this ratio may be from the features' mean energy, as a factor. It has no end where the features
explain everything, or nothing."""

RELATIVE_ENERGY: Final = 1e-12
"""Of the largest, below which a direction of the features is rounding."""


def log_me(features: Floats, values: Floats) -> float:
    """Logarithm of the maximum evidence per sample, the mean over targets (You et al. 2021, arXiv:2102.11005).

    Each target is linear in the features plus Gaussian noise, with a Gaussian prior of mean 0 on the weights.
    The precisions of both are those of the largest evidence, found by fixed-point iteration.

    Args:
        features: shape (n, width), as they are: nothing is centred.
        values: shape (n, num_targets): of classes 1 where the sample is of the class, else 0.

    Raises:
        ValueError: all features are 0.
    """
    left, energy = _left_singular(features)
    inside = (left.T @ values) ** 2
    outside = np.maximum((values**2).sum(axis=0) - inside.sum(axis=0), 0)
    evidence = [_largest_evidence(energy, *parts, len(values)) for parts in zip(inside.T, outside, strict=True)]
    return float(np.mean(evidence))


def _left_singular(features: Floats) -> tuple[Floats, Floats]:
    """Left singular vectors (n, rank) and squares of the singular values (rank,).

    From products of the shorter side, which takes a fraction of the time of a singular value decomposition.
    """
    is_wide = features.shape[1] > features.shape[0]
    energy, vectors = eigh(features @ features.T if is_wide else features.T @ features)
    kept = energy > RELATIVE_ENERGY * energy[-1]
    if not kept.any():
        raise ValueError("features must not all be 0")
    energy, vectors = energy[kept], vectors[:, kept]
    return vectors if is_wide else features @ vectors / np.sqrt(energy), energy


def _largest_evidence(energy: Floats, inside: Floats, outside: float, num: int) -> float:
    """Of one target, per sample.

    Args:
        inside: squared length of the target along each left singular vector, shape (rank,).
        outside: the rest of its squared length.
        num: samples.
    """
    ratio = start = float(energy.mean())  # of the prior's precision to the noise's
    for _ in range(MAX_ROUNDS):
        kept = ratio / (ratio + energy)
        determined = np.sum(energy / (ratio + energy))  # effective number of weights
        free = num - len(energy) + np.sum(kept)
        weights = np.sum(energy * inside / (ratio + energy) ** 2)
        residual = np.sum(inside * kept**2) + outside
        # determined / weights and free / residual are the best precisions of prior and noise, given each other.
        before = ratio
        with np.errstate(divide="ignore", over="ignore"):
            ratio = float(np.clip(determined * residual / (weights * free), start / LIMIT, start * LIMIT))
        if abs(ratio - before) <= TOLERANCE * before:
            break
    kept = ratio / (ratio + energy)
    error = np.sum(inside * kept) + outside
    return float((np.log(kept).sum() / num + np.log(num / error) - 1 - np.log(2 * np.pi)) / 2)
