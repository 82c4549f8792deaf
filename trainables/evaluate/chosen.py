"""Which samples of a split are measured where not all of them are."""

from __future__ import annotations

import numpy as np
import torch

from trainables.data import Split

__all__ = ["chosen"]


def chosen(split: Split, num: int) -> Split:
    """At most `num` samples of a split, in an order that depends on its size and on nothing else: the same for every
    backbone and run, and of two numbers the smaller one's come first among the larger one's."""
    positions = torch.from_numpy(np.random.default_rng(0).permutation(len(split))[:num])
    return split.at(positions)
