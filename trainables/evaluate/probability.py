"""Probabilities of outputs, and losses of single samples, as the definitions of metrics have them."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainables.objective import Classification, Objective, Regression

__all__ = ["FLOOR", "Floats", "example_losses", "log_losses", "probabilities"]

FLOOR: Final = 1e-12
"""Least probability that a loss is taken of: one wrong and certain answer makes no mean infinite."""

Floats: TypeAlias = npt.NDArray[np.float64]


def probabilities(objective: Objective, outputs: Tensor) -> Floats:
    """Of each class, whose sum is 1, or of each label: shape (n, num_outputs).

    Raises:
        ValueError: a regression has none.
    """
    if isinstance(objective, Regression):
        raise ValueError("a regression has no probabilities")
    logits = outputs.double()
    share = logits.softmax(dim=1) if isinstance(objective, Classification) else logits.sigmoid()
    return np.asarray(share.numpy())


def example_losses(objective: Objective, outputs: Tensor, targets: Tensor) -> Floats:
    """Loss of each sample, shape (n,): cross-entropy in nats with probabilities floored at `FLOOR`, of a
    multi-label task the mean over its labels; of a regression as `Objective.loss` has it."""
    if isinstance(objective, Regression):
        mean, std = outputs.new_tensor(objective.mean), outputs.new_tensor(objective.std)
        return np.asarray((outputs - (targets - mean) / std).double().square().mean(dim=1).numpy())
    return log_losses(objective, probabilities(objective, outputs), targets)


def log_losses(objective: Objective, share: Floats, targets: Tensor) -> Floats:
    """`example_losses` of probabilities as `probabilities` gives them."""
    truth = targets.numpy()
    if isinstance(objective, Classification):
        return _floored_loss(share[np.arange(len(truth)), truth])
    return np.asarray(_floored_loss(np.where(truth > 0, share, 1 - share)).mean(axis=1))


def _floored_loss(share: Floats) -> Floats:
    return np.asarray(-np.log(np.maximum(share, FLOOR)))
