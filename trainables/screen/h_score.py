"""H-score: how far apart the features of different classes are, against how much features vary."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import lstsq
from sklearn.covariance import ledoit_wolf

__all__ = ["h_score"]

RELATIVE: Final = 1e-12
"""Of the largest variance, below which one is rounding."""


def h_score(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Trace of the inverse covariance of features times that of their class means, in [0, num_classes - 1].

    Bao et al. 2019 (arXiv:2212.10082), with the covariance shrunk as Ledoit and Wolf do and the class means' by
    the same factor (Ibrahim et al. 2021, arXiv:2110.06893): plain, it is arbitrary where features are about as
    many as samples.

    Args:
        features: shape (n, width).
        labels: class numbers, shape (n,).
    """
    centred = features - features.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    classes, index, num = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([centred[index == c].mean(axis=0) for c in range(len(classes))])
    # The least solution where features that never vary, or two samples, leave it open.
    scaled = lstsq(covariance, means.T, cond=RELATIVE, lapack_driver="gelsy")[0]
    return float((1 - shrinkage) * ((means.T * scaled).sum(axis=0) @ num) / len(labels))
