"""Training steps on made-up batches, and devices that are too small for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.backbones import Backbone, replace_head
from trainables.config import FinetuneConfig
from trainables.execution import Execution
from trainables.freezing import copy_tuned, first_tuned, moving_state
from trainables.objective import Objective, make_objective
from trainables.passes import Passes
from trainables.preprocessing import State
from trainables.step import TrainStep

__all__ = ["AS_USUAL", "Batch", "Choke", "Rig", "Trained", "make_rig", "objective_of"]

CPU = torch.device("cpu")
AS_USUAL = Execution()
NUM_CLASSES = 5

Batch = tuple[State, Tensor]


def objective_of(kind: Any = "classification") -> tuple[Objective, Callable[[int], Tensor]]:
    """An objective with 5 outputs, and targets for so many samples."""
    generator = torch.Generator().manual_seed(5)

    def targets(num: int) -> Tensor:
        if kind == "classification":
            return torch.randint(NUM_CLASSES, (num,), generator=generator)
        numbers = torch.randn(num, NUM_CLASSES, generator=generator)
        return (numbers > 0).float() if kind == "multilabel" else numbers

    known = torch.arange(NUM_CLASSES) if kind == "classification" else targets(20)
    return make_objective(kind, NUM_CLASSES, known, known), targets


@dataclass
class Rig:
    """A step and the backbone that it trains."""

    step: TrainStep
    backbone: Backbone

    @property
    def passes(self) -> Passes:
        """As they have become."""
        return self.step._ladder.passes

    def train(self, batches: Sequence[Batch], before: Callable[[int], None] = lambda _: None) -> Trained:
        """Losses and what they leave; `before` is told the number of each step."""
        torch.manual_seed(3)
        losses = []
        for number, (state, targets) in enumerate(batches):
            before(number)
            losses.append(float(self.step(state, targets)))
        moving = {name: tensor.clone() for name, tensor in moving_state(self.backbone).items()}
        return Trained(losses, moving, float(torch.rand(())))


@dataclass
class Trained:
    """What some steps have left."""

    losses: list[float]
    state: dict[str, Tensor]
    drawn: float
    """What the random number generator gives next."""

    def assert_equal(self, other: Trained) -> None:
        """To the bit."""
        assert self.losses == other.losses
        assert self.state.keys() == other.state.keys()
        assert [name for name, tensor in self.state.items() if not torch.equal(tensor, other.state[name])] == []
        assert self.drawn == other.drawn

    def assert_close(self, other: Trained) -> None:
        """Within what float32 rounds when sums are taken in another order."""
        torch.testing.assert_close(self.losses, other.losses, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(self.state, other.state, rtol=1e-4, atol=1e-5)


def make_rig(
    pretrained: Backbone,
    execution: Execution = AS_USUAL,
    objective: Objective | None = None,
    weight: Tensor | None = None,
    **options: Any,
) -> Rig:
    """A step on a copy of `pretrained`. Plain SGD steps unless told otherwise: AdamW divides rounding errors by
    themselves where a gradient is zero."""
    options = {"batch_size": 8, "warmup_frac": 0.0, "optimizer": "sgd", **options}
    config = FinetuneConfig(backbone=pretrained.spec.name, **options)
    backbone = copy_tuned(pretrained, *(config.tune_window or (config.freeze_depth,)))
    replace_head(backbone, NUM_CLASSES, 0)
    step = TrainStep(
        config,
        backbone.train(),
        first_tuned(backbone),
        objective or objective_of()[0],
        num_steps=10,
        weight=weight,
        device=CPU,
        execution=execution,
    )
    return Rig(step, backbone)


class _Backward(torch.autograd.Function):
    """Nothing, but a function is told how many gradients come back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, told: Callable[[int], None]) -> Tensor:
        ctx.told = told
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.told(len(gradients[0]))
        return gradients[0], None


class Choke:
    """Makes a block run out of memory, in its forward or its backward pass.

    Args:
        most: samples that fit.
        most_checkpointed: that fit under gradient checkpointing.
        error: what is raised.
    """

    def __init__(
        self,
        rig: Rig,
        block: nn.Module,
        where: str,
        *,
        most: int,
        most_checkpointed: int,
        error: Exception | None = None,
    ) -> None:
        self.is_on = True
        self.num_failures = 0
        self._rig = rig
        self._most = most, most_checkpointed
        self._error = error or torch.OutOfMemoryError("no room")
        block.register_forward_hook(self._in_forward if where == "forward" else self._in_backward)

    def _in_forward(self, block: nn.Module, inputs: Any, output: State) -> None:
        if torch.is_grad_enabled():
            self._check(len(output if isinstance(output, Tensor) else output[0]))

    def _in_backward(self, block: nn.Module, inputs: Any, output: State) -> State:
        if isinstance(output, Tensor):
            return _Backward.apply(output, self._check)  # type: ignore[no-any-return,no-untyped-call]
        return (_Backward.apply(output[0], self._check), *output[1:])  # type: ignore[no-untyped-call]

    def _check(self, num: int) -> None:
        if self.is_on and num > self._most[self._rig.passes.gradient_checkpointing]:
            self.num_failures += 1
            raise self._error
