"""What a worker takes of its machine while it trains an epoch, sampled by the worker itself."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Final

import psutil
import torch

__all__ = ["Usage", "UsageMeter"]

_INTERVAL_S: Final = 0.25
"""Between two looks at the GPU: its driver answers for about the last second alone."""

_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Of one epoch, training and validation together. The fields are columns of `orchestrator.records.EPOCHS`."""

    cpu_cores: float
    """CPU seconds of this process and all its threads over wall seconds: 1.0 is one core that is never idle."""

    host_memory_mib: float
    """What of this process is in main memory as the epoch ends; pages of mapped files that it shares with others
    among them."""

    gpu_memory_mib: float | None
    """The most that PyTorch's tensors took of the GPU's memory; None without a GPU."""

    gpu_utilization: float | None
    """Share of time, in [0, 1], in which the whole GPU had work, whoever's it was; None without a GPU, or where
    nvidia-ml-py is not installed or the GPU does not tell (a part of one under MIG)."""


class UsageMeter:
    """Measures one epoch after the other of one run. What it costs: some 20 microseconds an epoch, and on a GPU
    that tells how busy it is a look at it every quarter of a second."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._wall_s = self._cpu_s = 0.0
        self._peak_mib = 0.0

    def begin(self) -> None:
        """An epoch begins."""
        if torch.cuda.is_available():
            self._peak_mib = self.peak_gpu_memory_mib or 0.0
            torch.cuda.reset_peak_memory_stats()
            if (gpu := _busy_gpu()) is not None:
                gpu.restart()
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def end(self) -> Usage:
        """The epoch is over."""
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        gpu = _busy_gpu()
        return Usage(
            cpu_cores=cpu_s / wall_s,
            host_memory_mib=self._process.memory_info().rss / _MIB,
            gpu_memory_mib=_allocated_mib(),
            gpu_utilization=None if gpu is None else gpu.mean(),
        )

    @property
    def peak_gpu_memory_mib(self) -> float | None:
        """The most since this meter was made, which `begin` keeps as it starts PyTorch's own count anew; None
        without a GPU."""
        now = _allocated_mib()
        return None if now is None else max(now, self._peak_mib)


def _allocated_mib() -> float | None:
    return torch.cuda.max_memory_allocated() / _MIB if torch.cuda.is_available() else None


class _BusyGpu(threading.Thread):
    """Looks at the GPU now and then for as long as the process lives."""

    def __init__(self) -> None:
        super().__init__(name="gpu-utilization", daemon=True)
        self._lock = threading.Lock()
        self._sum, self._num_looks = 0.0, 0
        self.start()

    def run(self) -> None:
        while True:
            time.sleep(_INTERVAL_S)
            seen = _utilization()
            if seen is not None:
                with self._lock:
                    self._sum, self._num_looks = self._sum + seen, self._num_looks + 1

    def restart(self) -> None:
        """Forget what was seen."""
        with self._lock:
            self._sum, self._num_looks = 0.0, 0

    def mean(self) -> float | None:
        """Of what was seen since; a look of its own where that is nothing."""
        with self._lock:
            total, num_looks = self._sum, self._num_looks
        return total / num_looks if num_looks else _utilization()


@cache
def _busy_gpu() -> _BusyGpu | None:
    """Of this process; None where no GPU tells how busy it is."""
    return _BusyGpu() if torch.cuda.is_available() and _utilization() is not None else None


def _utilization() -> float | None:
    try:
        return torch.cuda.utilization() / 100
    except Exception:  # not installed, no driver, not supported: of no figure no trial dies
        return None
