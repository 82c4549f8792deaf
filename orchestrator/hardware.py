"""What this machine computes with, looked up without a library that takes seconds to import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainables.cores import num_cores

__all__ = ["Hardware", "this_machine"]

_GPU_SPEED: Final = 20.0
"""CPU cores that one GPU is counted as: not measured here, and low rather than high."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """Of one machine."""

    num_cores: int
    """That this process may run on."""

    num_gpus: int = 0

    @property
    def speed(self) -> float:
        """Trials of one CPU core each that it does in the time of one."""
        return max(float(self.num_cores), _GPU_SPEED * self.num_gpus)

    def __str__(self) -> str:
        counted = [(self.num_gpus, "GPU"), (self.num_cores, "CPU core")]
        return " and ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counted if count)


def this_machine() -> Hardware:
    """As NVIDIA's driver and ``CUDA_VISIBLE_DEVICES`` have it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    num_gpus = sum(path.name.removeprefix("nvidia").isdecimal() for path in Path("/dev").glob("nvidia*"))
    if visible is not None:
        num_gpus = min(num_gpus, len([name for name in visible.split(",") if name.strip() not in ("", "-1")]))
    return Hardware(num_cores=num_cores(), num_gpus=num_gpus)
