"""What a worker says that an epoch took of its machine."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.records import USAGE
from orchestrator.workers import usage
from orchestrator.workers.usage import Usage, UsageMeter


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A made-up GPU. `allocate` takes some MiB of its memory for a moment, `busy` is what its driver says."""

    class Gpu:
        peak, busy, looks = 0.0, 40, 0

        def allocate(self, mib: float) -> None:
            self.peak = max(self.peak, mib * 2**20)

        def reset(self) -> None:
            self.peak = 0.0

        def utilization(self) -> int:
            self.looks += 1
            return self.busy

    made = Gpu()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: made.peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", made.reset)
    monkeypatch.setattr(torch.cuda, "utilization", made.utilization)
    monkeypatch.setattr(usage, "_INTERVAL_S", 0.01)
    usage._busy_gpu.cache_clear()
    yield made
    usage._busy_gpu.cache_clear()


def test_what_is_measured_has_a_column() -> None:
    assert {field.name for field in fields(Usage)} | {"elapsed_s"} == set(USAGE)


def test_a_busy_epoch_and_an_idle_one_are_told_apart() -> None:
    meter = UsageMeter()
    meter.begin()
    until = time.process_time() + 0.2
    held = np.ones(64 * 2**17)  # 64 MiB, each page touched
    while time.process_time() < until:
        pass
    busy = meter.end()
    meter.begin()
    time.sleep(0.2)
    idle = meter.end()
    assert busy.cpu_cores > 3 * idle.cpu_cores
    assert 0 <= idle.cpu_cores < 0.3
    assert busy.host_memory_mib > held.nbytes / 2**20
    assert (busy.gpu_memory_mib, busy.gpu_utilization) == (None, None) or torch.cuda.is_available()


def test_the_peak_of_an_epoch_is_its_own_and_that_of_the_run_stays(gpu: Any) -> None:
    meter = UsageMeter()
    gpu.allocate(100)  # as the run is made
    for mib in (30, 50, 20):
        meter.begin()
        gpu.allocate(mib)
        assert meter.end().gpu_memory_mib == mib
        assert meter.peak_gpu_memory_mib == 100
    gpu.allocate(200)
    assert meter.peak_gpu_memory_mib == 200


def test_a_gpu_is_looked_at_while_an_epoch_lasts_and_at_its_end_where_it_is_short(gpu: Any) -> None:
    meter = UsageMeter()
    meter.begin()
    before = gpu.looks
    time.sleep(0.1)
    assert meter.end().gpu_utilization == pytest.approx(0.4)
    assert gpu.looks > before + 1
    gpu.busy = 90
    meter.begin()
    assert meter.end().gpu_utilization == pytest.approx(0.9), "nothing of the epoch before"


def test_a_gpu_that_does_not_tell_how_busy_it_is_costs_no_trial(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported() -> int:
        raise RuntimeError("Not Supported")

    monkeypatch.setattr(torch.cuda, "utilization", unsupported)
    meter = UsageMeter()
    meter.begin()
    gpu.allocate(1)
    found = meter.end()
    assert (found.gpu_utilization, found.gpu_memory_mib) == (None, 1)
