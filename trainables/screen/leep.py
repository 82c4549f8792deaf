"""LEEP: how well the classes a checkpoint was trained on predict those of the task."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["leep"]


def leep(share: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.int64]) -> float:
    """Log expected empirical prediction, at most 0 (Nguyen et al. 2020, arXiv:2002.12462).

    Mean over samples of the log probability of the label, drawn by way of a source class: the class as the
    pretrained head gives it, the label as often as it goes with that class in these samples.

    Args:
        share: probability of each source class, shape (n, num_source).
        labels: class numbers of the task, shape (n,).
    """
    # Label by label: of 20,000 source classes `share` is large, and nothing else of its size is made.
    samples = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    together = np.stack([share[index].sum(axis=0, dtype=np.float64) for index in samples])
    seen = together.sum(axis=0)
    given = together / np.where(seen > 0, seen, 1)
    return sum(float(np.log(share[i] @ row).sum()) for i, row in zip(samples, given, strict=True)) / len(labels)
