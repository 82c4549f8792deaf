"""In how many passes, and keeping how much, a training batch goes through a device that may be too small for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables import findings
from trainables.config import FinetuneConfig
from trainables.errors import InvalidConfig, OutOfMemory
from trainables.execution import Execution
from trainables.memory_limit import memory_limit
from trainables.tuned import Tuned

__all__ = ["Ladder", "Passes", "memory_key", "mixes_samples"]

_KIND = "passes"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """How a batch is computed. A smaller one gives the same gradient, up to rounding and what dropout draws."""

    gradient_checkpointing: bool
    micro_batch_size: int | None
    """Most samples at once, >= 1; None is all of them."""


def mixes_samples(modules: list[nn.Module]) -> bool:
    """Whether what they make of a sample depends on the batch it is in, as BatchNorm does in train mode.

    Running statistics say so of norms that are no BatchNorm by class.
    """
    return any(
        module.training
        and (
            isinstance(module, _BatchNorm)
            or any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))
        )
        for part in modules
        for module in part.modules()
    )


class Ladder:
    """Steps down where memory does not suffice: first gradient checkpointing, whose result is the same to the
    bit, then half the samples at once. What was found is remembered for later trials and other processes.

    Args:
        execution: where it begins.
        about: all that decides how much memory a run takes and has: names what is remembered.
    """

    def __init__(self, tuned: Tuned, execution: Execution, about: Mapping[str, object]) -> None:
        self._tuned = tuned
        self._execution = execution
        self._about = {**about, "execution": asdict(execution)}
        self.passes = Passes(
            gradient_checkpointing=execution.gradient_checkpointing, micro_batch_size=execution.micro_batch_size
        )
        found = findings.recall(_KIND, self._about)
        if found is not None:
            self.passes = Passes(**found)

    def size(self, batch_size: int) -> int:
        """Samples at once of a batch of so many.

        Raises:
            InvalidConfig: `Execution.micro_batch_size` asks for parts, whose result would be another.
        """
        size = min(self.passes.micro_batch_size or batch_size, batch_size)
        if size < batch_size and mixes_samples(self._tuned.modules):
            raise InvalidConfig(
                f"execution.micro_batch_size must be at least the batch ({batch_size}) where BatchNorm is tuned, which "
                f"normalises over the whole batch, got {size}; take it out, or freeze deeper"
            )
        return size

    def step_down(self, batch_size: int, problem: str) -> None:
        """Ask for less memory from now on.

        Raises:
            OutOfMemory: nothing is left that would not change the result.
        """
        if self._tuned.can_checkpoint and not self.passes.gradient_checkpointing:
            self.passes = replace(self.passes, gradient_checkpointing=True)
        else:
            self.passes = replace(self.passes, micro_batch_size=self._half(batch_size, problem))
        findings.note(_KIND, self._about, asdict(self.passes))
        _log.info("out of memory with %d samples: going on with %s", batch_size, self.passes)

    def _half(self, batch_size: int, problem: str) -> int:
        size = self.size(batch_size)
        where = f"a batch of {batch_size} of {self._about['backbone']}"
        if mixes_samples(self._tuned.modules):
            raise OutOfMemory(
                f"{where} must fit in memory whole, as it tunes BatchNorm, which normalises over the whole batch, "
                f"and it does not ({problem}); use a smaller finetune.batch_size, a deeper freeze_depth, or fewer "
                "trials per GPU (resources.gpus_per_trial)"
            )
        if size == 1:
            raise OutOfMemory(
                f"a single sample of {where} must fit in memory, and it does not ({problem}); use smaller inputs, a "
                "deeper freeze_depth, or fewer trials per GPU (resources.gpus_per_trial)"
            )
        return math.ceil(size / 2)


def memory_key(
    config: FinetuneConfig, num_outputs: int, largest: tuple[tuple[int, ...], ...], device: torch.device
) -> dict[str, object]:
    """All that decides how much memory a run takes, but its execution, and how much of it there is.

    Args:
        largest: shapes of the task's largest sample.
    """
    return {
        "backbone": config.backbone,
        "tuned": list(config.tune_window or (config.freeze_depth,)),
        "batch_size": config.batch_size,
        "input": [list(shape) for shape in largest],
        "num_outputs": num_outputs,
        "precision": config.precision,
        "optimizer": config.optimizer,
        "stay_near": config.stay_near > 0,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "limit_bytes": memory_limit(device),
        "torch": torch.__version__,
    }
