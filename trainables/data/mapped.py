"""Tensors over mapped memory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["read_only"]


def read_only(buffer: Any, num_bytes: int) -> Tensor:
    """The first `num_bytes` of a mapped buffer as uint8, without a copy. Nobody may write to it."""
    with warnings.catch_warnings():
        # Read-only on purpose: batches are gathered by copy, nobody writes into the mapping.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.frombuffer(buffer, dtype=np.uint8, count=num_bytes))
