"""Many heads of one architecture trained at once: their parameters, their gradients and their updates.

Everything here has a first dimension for the members. They meet in no operation, so that what happens to
one, were it NaN, cannot reach another.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import dropout
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trainables.config import Optimizer as OptimizerName

__all__ = ["Hyperparameters", "StackedHead", "StackedOptimizer", "dropouts", "stack"]

Tensors: TypeAlias = dict[str, Tensor]
"""By the name of the parameter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """What one member's own optimizer and schedule would do, read from them."""

    groups: Mapping[str, Mapping[str, Any]]
    """Of each parameter, by name: the settings of its group in `torch.optim`; ``initial_lr`` is the peak rate."""

    factors: tuple[float, ...]
    """Of the learning rate at each step of the run."""

    @classmethod
    def of(cls, module: nn.Module, optimizer: Optimizer, schedule: LambdaLR, num_steps: int) -> Hyperparameters:
        """Of an optimizer, not stepped yet, over the parameters of `module` alone."""
        groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
        factor = schedule.lr_lambdas[0]
        return cls(
            groups={
                name: {key: value for key, value in groups[id(parameter)].items() if key != "params"}
                for name, parameter in module.named_parameters()
            },
            factors=tuple(factor(step) for step in range(num_steps)),
        )


class StackedOptimizer:
    """The updates of `trainables.optimization.make_optimizer`, each member with its own hyperparameters.

    Args:
        name: as in `FinetuneConfig.optimizer`.
        members: their hyperparameters, in the order in which `parameters` are stacked.
        parameters: of shape (members, ...); updated in place.
    """

    def __init__(self, name: OptimizerName, members: Sequence[Hyperparameters], parameters: Tensors) -> None:
        self._name = name
        self._parameters = parameters
        self._num_done = 0
        self._shared = {key: members[0].groups[key] for key in parameters}
        self._rates = {key: self._per_member(key, _rates(members, key)) for key in parameters}
        self._decays = {
            key: self._per_member(key, [[m.groups[key]["weight_decay"] for m in members]])[0] for key in parameters
        }
        self._decayed = {key for key in parameters if any(m.groups[key]["weight_decay"] for m in members)}
        self._first = {key: torch.zeros_like(p) for key, p in parameters.items()}
        self._second = {key: torch.zeros_like(p) for key, p in parameters.items()} if name != "sgd" else {}

    @property
    def num_bytes(self) -> int:
        """Of the moments."""
        return sum(moment.nbytes for moments in (self._first, self._second) for moment in moments.values())

    def step(self, gradients: Tensors) -> None:
        """Update by `gradients`, which may be overwritten."""
        update = self._sgd if self._name == "sgd" else self._adam
        with torch.no_grad():
            for key, gradient in gradients.items():
                update(key, gradient, self._rates[key][self._num_done])
        self._num_done += 1

    def _sgd(self, key: str, gradient: Tensor, rate: Tensor) -> None:
        parameter, momentum = self._parameters[key], self._shared[key]["momentum"]
        if key in self._decayed:
            gradient.addcmul_(parameter, self._decays[key])
        velocity = self._first[key].mul_(momentum).add_(gradient)
        parameter.addcmul_(gradient.add_(velocity, alpha=momentum), rate, value=-1)

    def _adam(self, key: str, gradient: Tensor, rate: Tensor) -> None:
        parameter, (beta1, beta2) = self._parameters[key], self._shared[key]["betas"]
        if key in self._decayed:
            if self._name == "adamw":
                parameter.mul_(1 - rate * self._decays[key])
            else:
                gradient.addcmul_(parameter, self._decays[key])
        mean = self._first[key].lerp_(gradient, 1 - beta1)
        square = self._second[key].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        num = self._num_done + 1
        scale = torch.sqrt(square, out=gradient).div_(math.sqrt(1 - beta2**num)).add_(self._shared[key]["eps"])
        parameter.addcdiv_(mean * (rate / -(1 - beta1**num)), scale)

    def _per_member(self, key: str, rows: list[list[float]]) -> Tensor:
        """(rows, members) as float32 on the parameter's device, shaped to broadcast with it."""
        parameter = self._parameters[key]
        values = torch.tensor(rows, dtype=torch.float64).to(parameter)
        return values.view(len(rows), -1, *[1] * (parameter.ndim - 1))


def _rates(members: Sequence[Hyperparameters], key: str) -> list[list[float]]:
    """Learning rates of one parameter: a row per step, a column per member."""
    return [[m.groups[key]["initial_lr"] * m.factors[step] for m in members] for step in range(len(members[0].factors))]


def stack(states: Sequence[Tensors]) -> Tensors:
    """Parameters of several modules as one tensor each, of shape (members, ...)."""
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


class StackedHead:
    """Losses and gradients of many heads that share an architecture.

    Args:
        head: any of them, for its code. It may have dropout and nothing else that is random, and no buffers:
            batch statistics would be one member's.
        loss: of outputs, as float32, and targets of one member, a scalar.
        context: that the head computes in, such as autocast.
    """

    def __init__(
        self,
        head: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        context: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._trained, self._masks = _with_given_masks(head)
        self._loss = loss
        self._context = context
        self._gradients = vmap(grad_and_value(self._member_loss), randomness="error")

    def gradients(
        self, parameters: Tensors, features: Tensor, targets: Tensor, masks: Sequence[Tensor]
    ) -> tuple[Tensors, Tensor]:
        """Gradients by name and losses (members,) of one batch of each member, in train mode.

        Args:
            parameters: of shape (members, ...).
            features: of shape (members, batch, ...).
            targets: of shape (members, batch, ...).
            masks: of shape (members, batch, ...), one for each call of a dropout, in order; a dropout
                multiplies by its mask.

        Raises:
            RuntimeError: the head draws random numbers of its own, or does what cannot be vectorised.
        """
        gradients, losses = self._gradients(parameters, features, targets, tuple(masks))
        return gradients, losses

    def _member_loss(self, parameters: Tensors, features: Tensor, targets: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        self._masks.give(masks)
        with self._context():
            outputs = functional_call(self._trained, parameters, (features,))
        return self._loss(outputs.float(), targets)


def dropouts(head: nn.Module, features: Tensor) -> list[Callable[[], Tensor]]:
    """Of each call of a dropout in a forward of `head` on `features`, in order: what draws its mask.

    A draw takes from torch's global generators exactly what the call itself would take, and gives what it
    would multiply its input by.
    """
    draws: list[Callable[[], Tensor]] = []

    def note(module: nn.Dropout, args: tuple[Tensor, ...]) -> None:
        ones = torch.ones_like(args[0])
        draws.append(lambda: dropout(ones, module.p))

    training = copy.deepcopy(head).train()
    for module in _active_dropouts(training).values():
        module.register_forward_pre_hook(note)
    with torch.no_grad(), torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        training(features.clone())
    return draws


class _GivenMasks(nn.Module):
    """In the place of every dropout of a head: multiplies by masks drawn before, one per call."""

    def __init__(self) -> None:
        super().__init__()
        self._masks: Iterator[Tensor] = iter(())

    def give(self, masks: Sequence[Tensor]) -> None:
        self._masks = iter(masks)

    def forward(self, x: Tensor) -> Tensor:
        return x * next(self._masks)


def _with_given_masks(head: nn.Module) -> tuple[nn.Module, _GivenMasks]:
    training, masks = copy.deepcopy(head).train(), _GivenMasks()
    for path in _active_dropouts(training):
        training.set_submodule(path, masks)
    return training, masks


def _active_dropouts(head: nn.Module) -> dict[str, nn.Dropout]:
    return {path: module for path, module in head.named_modules() if isinstance(module, nn.Dropout) and module.p > 0}
