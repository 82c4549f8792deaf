"""A whole test split under attack, and what must not come of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.evaluate import Findings, Subject
from trainables.evaluate.surfaces import Surface, surface_of


def of_all(subject: Subject) -> tuple[Surface, Tensor, list[int]]:
    """The whole test split: its surface, targets and rows."""
    test = subject.task.test
    surface = surface_of(subject, subject.encoded(test, torch.arange(len(test))))
    assert surface is not None
    return surface, test.targets, test.rows.tolist()


def untouched(subject: Subject, attack: Callable[[], Findings]) -> Findings:
    """What `attack` finds, if it leaves every parameter, buffer and gradient of `subject` alone."""
    before = {name: tensor.clone() for name, tensor in subject.tuned.state_dict().items()}
    needed = [p.requires_grad for p in subject.tuned.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in subject.tuned.parameters()]
    found = attack()
    assert all(torch.equal(before[name], tensor) for name, tensor in subject.tuned.state_dict().items())
    assert needed == [p.requires_grad for p in subject.tuned.parameters()]
    for parameter, gradient in zip(subject.tuned.parameters(), gradients, strict=True):
        assert parameter.grad is None if gradient is None else torch.equal(parameter.grad, gradient)
    assert not subject.tuned.training
    return found
