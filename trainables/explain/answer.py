"""The answer that is explained, as one number: how much of it is left when the input changes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.objective import Classification, MultiLabel, Objective

__all__ = ["Answer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a network says of one sample.

    Of a classification it is the class it predicts, of a multi-label task the label nearest to yes, with its yes
    or no, and of a regression all targets.
    """

    objective: Objective

    outputs: Tensor
    """Of the whole sample, float32 (num_outputs,)."""

    @property
    def index(self) -> int:
        """Of the class or label; of a regression the target that is farthest from its mean."""
        if isinstance(self.objective, Classification | MultiLabel):
            return int(self.outputs.argmax())
        return int(self.outputs.abs().argmax())

    @property
    def sign(self) -> int:
        """1, or -1 where the answer is no or below the mean."""
        is_class = isinstance(self.objective, Classification)
        return 1 if is_class or self.outputs[self.index] > 0 else -1

    def share(self, outputs: Tensor) -> Tensor:
        """How much of the answer outputs keep, float32 (n,) in [0, 1]; differentiable.

        The probability of the class, or of the label's yes or no. A regression has no probability: there it is
        exp(-d), where d is by how much the outputs differ from the whole sample's, in standard deviations of
        the training targets, the mean over targets.

        Args:
            outputs: float32 (n, num_outputs).
        """
        if isinstance(self.objective, Classification):
            return outputs.softmax(dim=1)[:, self.index]
        if isinstance(self.objective, MultiLabel):
            return torch.sigmoid(self.sign * outputs[:, self.index])
        return torch.exp(-(outputs - self.outputs.to(outputs.device)).abs().mean(dim=1))

    def score(self, outputs: Tensor) -> Tensor:
        """The output that the answer was read from, before any softmax: float32 (n,); more of it is more of the
        answer. Grad-CAM is defined on it.

        Args:
            outputs: float32 (n, num_outputs).
        """
        return self.sign * outputs[:, self.index]
