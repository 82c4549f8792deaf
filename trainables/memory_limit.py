"""How much of a device's memory a process may take, and which errors say that it was not enough."""

from __future__ import annotations

from typing import Final

import torch

__all__ = ["CONTEXT_BYTES", "free_memory", "is_out_of_memory", "limit_memory", "memory_limit", "tensor_share"]

CONTEXT_BYTES: Final = 768 * 2**20
"""What a process takes of a GPU beside its tensors: the CUDA context and the libraries' kernels."""

_SAID: Final = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # cuBLAS found no room for its workspace
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN, where none fits the memory left
    "DefaultCPUAllocator",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory. Libraries beside PyTorch's own allocator say so in text only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)


def limit_memory(share: float) -> None:
    """Keep this process within `share` of its GPU's memory, CUDA context included.

    Args:
        share: in (0, 1]. What goes beyond it is an out-of-memory error of this process, never of another
            that shares the GPU.
    """
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(1.0 if share >= 1 else tensor_share(share, total))


def tensor_share(share: float, total_bytes: int) -> float:
    """What is left of `share` for tensors, as a share of all `total_bytes`, in [0, 1)."""
    return max(0.0, share - CONTEXT_BYTES / total_bytes)


def memory_limit(device: torch.device) -> int:
    """Bytes that tensors of this process may take of a GPU; 0 for the CPU, where nothing limits them."""
    if device.type != "cuda":
        return 0
    total = torch.cuda.get_device_properties(device).total_memory
    return int(total * torch.cuda.get_per_process_memory_fraction(device))


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that tensors of this process may still take: neither its own limit nor the GPU is full."""
    held = torch.cuda.memory_reserved(device)
    unused = held - torch.cuda.memory_allocated(device)
    return min(torch.cuda.mem_get_info(device)[0] + unused, memory_limit(device) - held + unused)
