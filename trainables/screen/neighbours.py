"""What the nearest other samples say of each."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["NUM_NEIGHBOURS", "TEMPERATURE", "neighbour_means"]

NUM_NEIGHBOURS: Final = 20

TEMPERATURE: Final = 0.07
"""Of the weights exp(cosine / temperature), as in Wu et al. 2018 (arXiv:1805.01978)."""

_CHUNK: Final = 1024


def neighbour_means(features: Tensor, values: Tensor) -> Tensor:
    """Weighted mean of `values` over the 20 samples of the nearest direction, the sample itself left out.

    Args:
        features: shape (n, width), n at least 2.
        values: shape (n, num_values), float, on the same device.

    Returns:
        Shape (n, num_values).
    """
    directions = normalize(features.float())
    num = min(NUM_NEIGHBOURS, len(features) - 1)
    means = []
    for rows in torch.split(torch.arange(len(features), device=features.device), _CHUNK):
        cosine = directions[rows] @ directions.T
        cosine[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        nearest = cosine.topk(num, dim=1)
        weight = (nearest.values / TEMPERATURE).softmax(dim=1)
        means.append((weight.unsqueeze(-1) * values[nearest.indices]).sum(dim=1))
    return torch.cat(means)
