"""One optimizer step over what is tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from trainables.backbones import Backbone
from trainables.config import FinetuneConfig
from trainables.execution import Execution
from trainables.memory_limit import is_out_of_memory
from trainables.objective import Objective
from trainables.optimization import Anchor, make_optimizer, make_schedule
from trainables.passes import Ladder, Passes, memory_key
from trainables.precision import autocast
from trainables.preprocessing import State
from trainables.splitting import InParts, release_memory, split
from trainables.state import TrainingState
from trainables.tuned import Tuned
from trainables.undo import Intact, Undo

__all__ = ["TrainStep"]


class TrainStep:
    """Trains blocks `start` to the end and the head, a batch at a time.

    A step that runs out of memory is undone and tried again in a smaller way (`Ladder`), with the same result
    up to rounding; in several passes dropout and stochastic depth draw other masks than in one.

    Args:
        backbone: on `device`, frozen as `config` says.
        start: the first tuned block: batches are what enters it.
        num_steps: of the whole run; the learning-rate schedule ends there.
        weight: of the loss, as `Objective.balanced_weight` gives it, or None.
        largest: shapes of the task's largest sample, as `largest_sample` gives them: with the configuration they
            decide how much memory a step takes.

    Raises:
        InvalidConfig: it shall be compiled and there is no C++ compiler.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        backbone: Backbone,
        start: int,
        objective: Objective,
        *,
        num_steps: int,
        weight: Tensor | None,
        device: torch.device,
        execution: Execution,
        largest: tuple[tuple[int, ...], ...] = (),
    ) -> None:
        self.num_done = 0
        self._config = config
        self._objective = objective
        self._weight = weight
        self._device = device
        self._tuned = Tuned(backbone, start, compile=execution.compile)
        self._ladder = Ladder(self._tuned, execution, memory_key(config, objective.num_outputs, largest, device))
        self._undo = Undo(self._tuned.modules, device)
        self._intact = Intact()
        self._in_parts = InParts(device)
        self._optimizer = make_optimizer(config, backbone)
        self._schedule = make_schedule(config, self._optimizer, num_steps)
        self._anchor = Anchor(backbone, config.stay_near)

    def __call__(self, state: State, targets: Tensor) -> Tensor:
        """Update on one batch; the mean loss over it, on the device: nobody has waited for it.

        Raises:
            InvalidConfig: PyTorch cannot compile the backbone, or `Execution.micro_batch_size` would change
                the result.
            OutOfMemory: memory does not suffice in any way that leaves the result the same.
        """
        self._undo.save()
        while True:
            loss, problem = self._attempt(state, targets)
            if loss is not None:
                break
            self._undo.restore()
            self._optimizer.zero_grad(set_to_none=True)
            release_memory(self._device)
            self._ladder.step_down(len(targets), problem)
        self._anchor.add_gradient()
        self._optimizer.step()
        self._schedule.step()
        self.num_done += 1
        return loss

    def forward(self, state: State) -> Tensor:
        """Outputs, in eval mode, for what enters block `start`; in parts where memory does not hold the batch.

        Raises:
            OutOfMemory: memory does not hold a single sample.
        """
        return self._in_parts(self._outputs, state)

    def state(self) -> TrainingState:
        """Of optimizer, schedule, and in how many passes a batch goes through memory."""
        moments = self._optimizer.state_dict()["state"]
        return TrainingState(
            tensors={f"{index}.{name}": moment for index, named in moments.items() for name, moment in named.items()},
            values={
                "step": self.num_done,
                "learning_rates": [group["lr"] for group in self._optimizer.param_groups],
                "schedule": self._schedule.state_dict(),
                "passes": asdict(self._ladder.passes),
                "samples_at_once": self._in_parts.size,
            },
        )

    def load_state(self, state: TrainingState) -> None:
        """Go on where `state` was taken.

        Raises:
            ValueError: its tensors do not fit this run's parameters; nothing has been changed.
        """
        groups = self._optimizer.state_dict()["param_groups"]
        rates = state.values["learning_rates"]
        loaded = {
            "state": self._moments(state.tensors),
            "param_groups": [{**group, "lr": lr} for group, lr in zip(groups, rates, strict=True)],
        }
        passes = Passes(**state.values["passes"])
        self._optimizer.load_state_dict(loaded)
        self._schedule.load_state_dict(state.values["schedule"])
        self._ladder.passes = passes
        self._in_parts.size = state.values["samples_at_once"]
        self.num_done = state.values["step"]

    def _moments(self, tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
        """Copies of the optimizer's tensors as it takes them: by the number of their parameter."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            number, _, name = key.partition(".")
            if int(number) >= len(parameters) or tensor.shape not in (parameters[int(number)].shape, ()):
                raise ValueError(f"optimizer.{key} of shape {tuple(tensor.shape)} must be of a parameter of this run")
            moments.setdefault(int(number), {})[name] = tensor.clone()
        return moments

    def _outputs(self, state: State) -> Tensor:
        with autocast(self._config.precision, self._device):
            return self._tuned.plain(state)

    def _attempt(self, state: State, targets: Tensor) -> tuple[Tensor | None, str]:
        """The loss, its gradients in place; None, and what was said, where memory does not suffice."""
        # Here and not before the backward pass: the forward pass has the room.
        self._optimizer.zero_grad(set_to_none=True)
        try:
            return self._intact(lambda shown: self._gradients(shown, targets), state), ""
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Its traceback holds every activation of the pass: it must be gone before the next attempt.
            return None, str(error).partition("\n")[0]

    def _gradients(self, state: State, targets: Tensor) -> Tensor:
        size = self._ladder.size(len(targets))
        if size == len(targets):
            loss = self._loss(state, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        total = torch.zeros((), device=self._device)
        for part, its_targets in zip(split(state, size), split(targets, size), strict=True):
            loss = self._loss(part, its_targets) * (len(its_targets) / len(targets))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _loss(self, state: State, targets: Tensor) -> Tensor:
        with autocast(self._config.precision, self._device):
            outputs = self._tuned(state, checkpointed=self._ladder.passes.gradient_checkpointing)
        return self._objective.loss(outputs.float(), targets, self._weight)
