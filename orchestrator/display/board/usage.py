"""How busy this machine is: its processors, and its NVIDIA GPUs where NVIDIA's own bindings are installed."""

from __future__ import annotations

import importlib
import time
from contextlib import suppress
from typing import Any, Final

import psutil

__all__ = ["Usage"]

_LOOK_EVERY_S: Final = 1.0
_GIB: Final = 2**30


class Usage:
    """What processors and GPUs do, looked at once a second at most.

    GPUs are left out without ``nvidia-ml-py``: a sweep needs it for nothing else.
    """

    def __init__(self) -> None:
        psutil.cpu_percent(None)  # the first answer is of no time at all
        self._looked = time.monotonic()
        self._text = ""
        self._nvml = _nvml()

    def text(self) -> str:
        """``CPU 97 %``, ``CPU 40 %, GPU 93 %, 12.1 of 79.6 GiB``; empty before the first second is over."""
        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            self._looked = time.monotonic()
            self._text = f"CPU {psutil.cpu_percent(None):.0f} %{self._gpus()}"
        return self._text

    def _gpus(self) -> str:
        if self._nvml is None:
            return ""
        with suppress(self._nvml.NVMLError):  # it may be another container's, or have fallen off the bus
            handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(self._nvml.nvmlDeviceGetCount())]
            if handles:
                busy = [self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in handles]
                memory = [self._nvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
                used, total = sum(m.used for m in memory) / _GIB, sum(m.total for m in memory) / _GIB
                name = "GPU" if len(handles) == 1 else f"{len(handles)} GPUs"
                return f", {name} {sum(busy) / len(busy):.0f} %, {used:.1f} of {total:.1f} GiB"
        return ""


def _nvml() -> Any:
    """NVIDIA's bindings, ready to be asked; None where they, their driver or a GPU are missing."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    with suppress(nvml.NVMLError):
        nvml.nvmlInit()
        return nvml
    return None
