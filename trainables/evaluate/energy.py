"""Energy that a GPU has taken, as its own meter says."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch

__all__ = ["energy_meter"]


def energy_meter(device: torch.device) -> Callable[[], float] | None:
    """Joules that a GPU has taken since its driver was loaded, whoever used it; None where nothing says so.

    Read by NVML through the module ``pynvml`` (package ``nvidia-ml-py``), where that is installed. GPUs before
    Volta, and parts of one (MIG), have no meter.
    """
    if device.type != "cuda":
        return None
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        # By its name: numbers of NVML and of a process that sees some GPUs only are not the same.
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
