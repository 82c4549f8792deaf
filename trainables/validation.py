"""What an epoch is recorded as once its weights have been validated."""

from __future__ import annotations

import math

from trainables.config import EpochMetrics
from trainables.errors import Diverged
from trainables.objective import Metric, Quality

__all__ = ["epoch_metrics", "require_best", "require_finite"]


def require_finite(split: str, loss: float, epoch: int) -> None:
    """
    Args:
        split: ``train`` or ``validation``.
        epoch: that the loss was measured in, 1-based.

    Raises:
        Diverged: the loss is not finite.
    """
    if not math.isfinite(loss):
        raise Diverged(f"{split} loss is {loss} in epoch {epoch}")


def require_best(best: EpochMetrics | None) -> EpochMetrics:
    """The best epoch of a run, where it has one.

    Raises:
        ValueError: no epoch has been completed.
    """
    if best is None:
        raise ValueError("at least one completed epoch is needed to measure the best one")
    return best


def epoch_metrics(
    quality: Quality,
    metric: Metric,
    *,
    epoch: int,
    step: int,
    train_loss: float,
    train_s: float,
    eval_s: float,
    best: EpochMetrics | None,
) -> EpochMetrics:
    """The record of a completed epoch; the arguments are its fields.

    Args:
        quality: on validation.
        metric: the task's main one.
        best: the best epoch before, or None: an equal one does not replace it.
    """
    score = quality.score(metric)
    return EpochMetrics(
        epoch=epoch,
        step=step,
        train_loss=train_loss,
        val_loss=quality.loss,
        val_accuracy=quality.accuracy,
        val_f1_macro=quality.f1_macro,
        val_r2=quality.r2,
        val_mae=quality.mae,
        val_score=score,
        train_s=train_s,
        eval_s=eval_s,
        is_best=best is None or score > best.val_score,
    )
