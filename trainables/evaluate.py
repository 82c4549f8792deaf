"""Quality of a model on a split, in eval mode, without augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.data import Metric

__all__ = ["Quality", "quality"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """How good predictions are."""

    loss: float
    """Mean cross-entropy over samples, in nats."""

    accuracy: float
    """Share of samples answered correctly, in [0, 1]."""

    f1_macro: float
    """Mean of the per-class F1 over the classes present, in [0, 1]."""

    def score(self, metric: Metric) -> float:
        """The value of the task's main metric."""
        return self.accuracy if metric == "accuracy" else self.f1_macro


def quality(logits: Tensor, labels: Tensor) -> Quality:
    """Quality of logits, shape (n, num_classes), against labels, shape (n,); both on the CPU."""
    truth, answers = labels.numpy(), logits.argmax(dim=1).numpy()
    return Quality(
        loss=float(cross_entropy(logits.float(), labels)),
        accuracy=float(accuracy_score(truth, answers)),
        f1_macro=float(f1_score(truth, answers, average="macro", labels=np.unique(truth), zero_division=0)),
    )
