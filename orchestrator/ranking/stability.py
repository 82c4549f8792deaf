"""How much of a first place is owed to the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.ranking.interval import Array
from orchestrator.ranking.options import COMPONENTS

__all__ = ["NUM_DRAWS", "weight_stability"]

NUM_DRAWS = 2_000
_CONCENTRATION = 10.0  # of the Dirichlet draws: a weight of 0.6 varies by 0.15, one of 0.1 by 0.09


def weight_stability(components: Sequence[Mapping[str, float]], weights: Mapping[str, float], seed: int) -> Array:
    """Of each backbone the share of weights around those given under which it is first: (K,), summing to 1.

    The rank acceptability of SMAA-2 (Lahdelma and Salminen 2001) for the first rank, over weights that are
    Dirichlet-distributed with the given ones as their mean. A weight of 0 stays 0. Equal scores share.

    components: of each backbone, by name, chance-normalised. weights: of all COMPONENTS, summing to 1.
    """
    if not components:
        return np.zeros(0)
    names = [name for name in COMPONENTS if weights[name] > 0]
    values = np.array([[of_one[name] for name in names] for of_one in components])
    rng = np.random.default_rng([seed, 7])
    drawn = rng.dirichlet(_CONCENTRATION * np.array([weights[name] for name in names]), NUM_DRAWS)
    scores = np.round(drawn @ values.T, 12)
    first = scores >= scores.max(axis=1, keepdims=True)
    shares: Array = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares
