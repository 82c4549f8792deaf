"""One optimizer step over what is tuned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainables.backbones import Backbone
from trainables.config import FinetuneConfig
from trainables.execution import Execution
from trainables.objective import Objective
from trainables.optimization import Anchor, make_optimizer, make_schedule
from trainables.precision import autocast
from trainables.preprocessing import State

__all__ = ["TrainStep"]


class TrainStep:
    """Trains blocks `start` to the end and the head, a batch at a time.

    Args:
        backbone: on `device`, frozen as `config` says.
        start: the first tuned block: batches are what enters it.
        num_steps: of the whole run; the learning-rate schedule ends there.
        weight: of the loss, as `Objective.balanced_weight` gives it, or None.
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
    ) -> None:
        self.num_done = 0
        self._config = config
        self._backbone = backbone
        self._start = start
        self._objective = objective
        self._weight = weight
        self._device = device
        self._execution = execution
        self._optimizer = make_optimizer(config, backbone)
        self._schedule = make_schedule(config, self._optimizer, num_steps)
        self._anchor = Anchor(backbone, config.stay_near)

    def __call__(self, state: State, targets: Tensor) -> Tensor:
        """Update on one batch; the mean loss over it, on the device: nobody has waited for it."""
        loss = self._objective.loss(self.forward(state).float(), targets, self._weight)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._anchor.add_gradient()
        self._optimizer.step()
        self._schedule.step()
        self.num_done += 1
        return loss.detach()

    def forward(self, state: State) -> Tensor:
        """Outputs for what enters block `start`."""
        with autocast(self._config.precision, self._device):
            outputs: Tensor = self._backbone.head(self._backbone.features(state, self._start))
        return outputs

    def state_dict(self) -> dict[str, Any]:
        """Of optimizer and schedule."""
        return {
            "step": self.num_done,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_done = state["step"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
