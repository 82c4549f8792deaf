"""Which numbers a device computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from trainables.config import Precision

__all__ = ["autocast", "uses_bf16"]


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether ``auto`` or what was asked for means bf16 on this device."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """A context in which layers compute in bf16 where `uses_bf16` says so; parameters stay in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bf16(precision, device))
