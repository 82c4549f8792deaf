"""Which samples go into which batch of an epoch."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from trainables.data import Split

__all__ = ["batch_sizes", "epoch_batches", "epoch_seed", "eval_batches", "largest_sample"]

EVAL_BATCH_SIZE: Final = 256

POOL: Final = 50
"""Batches whose samples are sorted by length together."""


def batch_sizes(num: int, size: int) -> list[int]:
    """Of one pass over `num` samples; see `FinetuneConfig.batch_size`."""
    sizes = [min(size, num - start) for start in range(0, num, size)]
    if size > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [size + 1]
    return sizes


def epoch_seed(seed: int, epoch: int) -> int:
    """Of all that an epoch, counted from 0, draws in a run of `seed`: in [0, 2**64)."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0])


def epoch_batches(split: Split, size: int) -> list[Tensor]:
    """Positions of each batch of one pass in a random order, drawn from torch's global generator.

    Samples of unequal length are shuffled, then sorted by length within pools of 50 batches, and the
    batches shuffled again: batches of similar lengths hold less padding.
    """
    order = torch.randperm(len(split))
    sizes = batch_sizes(len(split), size)
    lengths = split.lengths
    if lengths is None:
        return list(torch.split(order, sizes))
    sorted_pools = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in torch.split(order, POOL * size)])
    batches = torch.split(sorted_pools, sizes)
    return [batches[index] for index in torch.randperm(len(batches))]


def eval_batches(split: Split, size: int = EVAL_BATCH_SIZE) -> list[Tensor]:
    """Positions of each batch of one pass, by length where samples differ in it."""
    lengths = split.lengths
    order = torch.arange(len(split)) if lengths is None else lengths.argsort(stable=True)
    return list(torch.split(order, size))


def largest_sample(split: Split) -> tuple[tuple[int, ...], ...]:
    """Shapes of the tensors of the longest sample, or of any where all have one size."""
    longest = torch.tensor([0 if split.lengths is None else int(split.lengths.argmax())])
    sample, _ = split.batch(longest)
    return tuple(tuple(part.shape[1:]) for part in ((sample,) if isinstance(sample, Tensor) else sample))
