"""Training-free scores of a pretrained backbone on a task, from features of its training split.

None of them is known to order backbones reliably (Agostinelli et al. 2022, arXiv:2204.01403); the number of
parameters is the baseline that they have to beat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from trainables.backbones import Backbone
from trainables.config import Precision
from trainables.data import Task
from trainables.execution import Execution
from trainables.finetune import default_device
from trainables.objective import Classification, MultiLabel, Objective, Regression
from trainables.screen.features import ScreenFeatures, screen_features
from trainables.screen.h_score import h_score
from trainables.screen.leep import leep
from trainables.screen.log_me import log_me
from trainables.screen.neighbours import neighbour_means
from trainables.screen.score import ScreenName, ScreenScore

__all__ = ["ScreenName", "ScreenScore", "screen"]

_AS_USUAL: Final = Execution()


def screen(
    pretrained: Backbone,
    task: Task,
    device: torch.device | None = None,
    execution: Execution = _AS_USUAL,
    *,
    precision: Precision = "auto",
    num_runs: int = 1,
) -> tuple[ScreenScore, ...]:
    """Score an untouched backbone on the training split of a task, in every way there is.

    Of more than 10,000 training samples an even share is taken. Features are what feeds the head, averaged over
    positions, from the cache of activations that linear probes share.

    Args:
        pretrained: as built, with the head of its source; it is not changed.
        task: data, preprocessed as this backbone wants them.
        device: None is `default_device()`.
        num_runs: how many runs are expected to need these features; decides whether a cache of them pays.
    """
    started = time.perf_counter()
    found = screen_features(
        pretrained, task, device or default_device(), execution=execution, precision=precision, num_runs=num_runs
    )
    features_s = time.perf_counter() - started
    scores: dict[ScreenName, Callable[[ScreenFeatures, Objective], float]] = {
        "log_me": _log_me,
        "leep": _leep,
        "h_score": _h_score,
        "knn": _knn,
    }
    return (
        *(_scored(name, score, found, task.objective, features_s) for name, score in scores.items()),
        ScreenScore(name="num_params", value=sum(p.numel() for p in pretrained.blocks.parameters()), duration_s=0.0),
    )


class _DoesNotApply(Exception):
    """A score is not defined for this task or backbone."""


def _scored(
    name: ScreenName,
    score: Callable[[ScreenFeatures, Objective], float],
    found: ScreenFeatures,
    objective: Objective,
    features_s: float,
) -> ScreenScore:
    started = time.perf_counter()
    try:
        value = score(found, objective)
    except _DoesNotApply as reason:
        return ScreenScore(name=name, value=float("nan"), duration_s=0.0, note=str(reason))
    return ScreenScore(name=name, value=value, duration_s=features_s + time.perf_counter() - started)


def _log_me(found: ScreenFeatures, objective: Objective) -> float:
    if not bool(found.features.any()):
        raise _DoesNotApply("all features are 0")
    values = _values(found.targets, objective).double().cpu().numpy()
    return log_me(found.features.double().cpu().numpy(), values[:, values.any(axis=0)])


def _leep(found: ScreenFeatures, objective: Objective) -> float:
    if not isinstance(objective, Classification):
        raise _DoesNotApply("LEEP is of tasks with one class per sample")
    if found.share is None:
        raise _DoesNotApply("LEEP needs a pretrained classifier, and this backbone has none")
    return leep(found.share.numpy(), found.targets.numpy())


def _h_score(found: ScreenFeatures, objective: Objective) -> float:
    if not isinstance(objective, Classification):
        raise _DoesNotApply("the H-score is of tasks with one class per sample")
    return h_score(found.features.double().cpu().numpy(), found.targets.numpy())


def _knn(found: ScreenFeatures, objective: Objective) -> float:
    """The main metric of answers by the nearest other training samples."""
    answers = neighbour_means(found.features, _values(found.targets, objective).to(found.features.device)).cpu()
    # A label is answered yes where the output is positive: where most neighbours have it.
    outputs = answers - 0.5 if isinstance(objective, MultiLabel) else answers
    return objective.quality(outputs, found.targets).score(objective.metric)


def _values(targets: Tensor, objective: Objective) -> Tensor:
    """Targets as numbers, float32 (n, num_outputs): 1 and 0 of classes and labels, of a regression in standard
    deviations from the mean."""
    if isinstance(objective, Classification):
        return torch.nn.functional.one_hot(targets, objective.num_outputs).float()
    if isinstance(objective, Regression):
        return (targets - targets.new_tensor(objective.mean)) / targets.new_tensor(objective.std)
    return targets.float()
