"""Tasks of another kind on the same samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainables.data import Split, Task
from trainables.objective import make_objective


def with_targets(task: Task, kind: Any, names: tuple[str, ...], of: Callable[[Tensor], Tensor]) -> Task:
    """The same images with targets computed from their class."""

    def mapped(split: Split) -> Split:
        return replace(split, targets=of(split.targets))

    train, val, test = map(mapped, (task.train, task.val, task.test))
    objective = make_objective(kind, len(names), train.targets, test.targets)
    return replace(task, train=train, val=val, test=test, objective=objective, class_names=names)


def bits(targets: Tensor) -> Tensor:
    """The three lowest binary digits of a class number as labels."""
    return ((targets[:, None] >> torch.arange(3)) & 1).float()
