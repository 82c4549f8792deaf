"""How a run is computed, apart from what it computes (`FinetuneConfig`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainables.rules import one_of_rules, require

__all__ = ["ActivationCache", "ActivationDtype", "Execution"]

ActivationCache = Literal["auto", "always", "off"]
ActivationDtype = Literal["exact", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a run is computed. Nothing here changes a result beyond rounding, but an `activation_dtype`
    that is not ``exact``.

    Raises:
        InvalidConfig: a value is outside its range; all broken rules are listed at once.
    """

    activation_cache: ActivationCache = "auto"
    """What crosses the boundary behind the frozen leading blocks is computed once and read ever after:
    ``auto`` where measured costs say that it pays, ``always`` wherever it is possible."""

    activation_dtype: ActivationDtype = "exact"
    """How cached activations are stored. ``bf16`` and ``fp16`` halve those in fp32 and round them."""

    compile: bool = False
    """``torch.compile`` what is trained. Worth its minute of compiling on a GPU and for long runs."""

    gradient_checkpointing: bool = False
    """Keep only the tuned blocks' inputs and compute the rest again in the backward pass: less memory for
    about a third more time."""

    micro_batch_size: int | None = None
    """Most samples in memory at once, >= 1: a larger batch is summed up from several passes before the step, in
    which dropout draws other masks than in one. Refused where BatchNorm is tuned, which normalises over the
    batch. None is the whole batch, halved where memory does not hold it and gradient checkpointing is not enough."""

    def __post_init__(self) -> None:
        micro_batch = ("micro_batch_size", ">= 1 or None", self.micro_batch_size is None or self.micro_batch_size >= 1)
        require(self, [*one_of_rules(self), micro_batch])
