"""How far tuning has moved the features of each block."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from trainables.batches import eval_batches
from trainables.data import Split
from trainables.evaluate.chosen import chosen
from trainables.evaluate.findings import Findings, Measure
from trainables.evaluate.probability import Floats
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.freezing import first_tuned
from trainables.pooling import pooled
from trainables.precision import autocast
from trainables.preprocessing import State
from trainables.splitting import InParts

__all__ = ["drift", "linear_cka"]


def drift(subject: Subject, evaluation: Evaluation) -> Findings:
    """Similarity of what θ and θ' make of the same test samples behind each block: 1 where nothing has moved.

    Linear CKA of features averaged over positions, of `Evaluation.num_drifted` test samples. Frozen leading
    blocks have exactly 1 and are not measured. With fewer samples than features CKA reads too high, so it
    compares blocks and depths of one backbone, and hardly backbones of different width.

    Takes ``num_drifted * 8`` bytes times the features of all tuned blocks of memory.
    """
    if not evaluation.num_drifted:
        return Findings()
    start, num_blocks = first_tuned(subject.tuned), subject.tuned.num_blocks
    similarities = [1.0] * start
    if start < num_blocks:
        before, after = _features(subject, start, chosen(subject.task.test, evaluation.num_drifted))
        similarities += [linear_cka(x.numpy(), y.numpy()) for x, y in zip(before, after, strict=True)]
    return Findings(
        measures=tuple(
            Measure(name="cka", value=value, condition=f"block:{index}") for index, value in enumerate(similarities)
        )
    )


def linear_cka(x: Floats, y: Floats) -> float:
    """Linear centred kernel alignment of two sets of features of the same samples, in [0, 1].

    ``||Y'X||² / (||X'X|| ||Y'Y||)`` of centred features in Frobenius norms (Kornblith et al. 2019,
    arXiv:1905.00414): unmoved by rotations and by one factor on all features. Not a number where the features
    of either are the same for all samples.

    Args:
        x: shape (n, width); `y` may have another width.
    """
    if not np.ptp(x, axis=0).any() or not np.ptp(y, axis=0).any():
        return float("nan")
    x, y = (features.astype(np.float64) - features.mean(axis=0, dtype=np.float64) for features in (x, y))
    if len(x) < max(x.shape[1], y.shape[1]):
        # The same by the products of samples with each other, of which there are fewer.
        x, y = x @ x.T, y @ y.T
        shared, own = float(np.sum(x * y)), float(np.linalg.norm(x) * np.linalg.norm(y))
    else:
        shared, own = float(np.sum((y.T @ x) ** 2)), float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return min(max(shared / own, 0.0), 1.0)


def _features(subject: Subject, start: int, split: Split) -> tuple[list[Tensor], list[Tensor]]:
    """Averaged features of every sample behind each block from `start` on: of θ, then of θ'."""
    in_parts = InParts(subject.device)
    pretrained = subject.frozen.backbone
    both = [pretrained.blocks, subject.tuned.blocks]
    found: tuple[list[tuple[Tensor, ...]], ...] = ([], [])
    with torch.inference_mode(), autocast(subject.config.precision, subject.device):
        for positions in eval_batches(split):
            state = subject.prepared(subject.encoded(split, positions))
            if start:
                state = in_parts(partial(pretrained.features, start=0, stop=start), state, name="frozen")
            for blocks, parts in zip(both, found, strict=True):
                parts.append(in_parts(partial(_along, blocks[start:]), state, name=id(blocks)))
    before, after = ([torch.cat(block).cpu() for block in zip(*parts, strict=True)] for parts in found)
    return before, after


def _along(blocks: Iterable[nn.Module], state: State) -> tuple[Tensor, ...]:
    """Averaged features behind each of `blocks`."""
    found = []
    for block in blocks:
        state = block(state)
        found.append(pooled(state))
    return tuple(found)
