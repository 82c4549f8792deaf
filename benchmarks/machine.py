"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["machine"]


def machine() -> dict[str, Any]:
    """Processor, cores and the versions that matter."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.partition(":")[2].strip() for line in file if "model name" in line), model)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{
            name: _version(name)
            for name in ("ray", "optuna", "torch", "torchvision", "timm", "numpy", "scipy", "pyarrow")
        },
    }


def _version(distribution: str) -> str | None:
    """None where it is not installed: what needs a GPU runs without Ray."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
