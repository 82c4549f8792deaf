"""Memory, files, torch and GPUs: each with a fault that was put there."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from looking import Only

from orchestrator.doctor import compute, machine
from orchestrator.doctor.compute import cuda, torch_works
from orchestrator.doctor.machine import memory, open_files, shared_memory

GIB = 2**30


@pytest.fixture
def available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the machine and, if given, its container have left; there are 4 cores."""
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4))

    def available(gib: float, container_gib: float | None = None) -> None:
        kib = int(gib * 2**20)
        (tmp_path / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {kib} kB\n")
        (tmp_path / "memory.max").write_text("max" if container_gib is None else str(int((container_gib + 3) * GIB)))
        (tmp_path / "memory.current").write_text(str(3 * GIB))

    return available


def test_memory(available: Any, only: Only) -> None:
    available(8)
    assert only(memory).detail == "8.0 GiB available, 4 trials at a time"
    available(8, container_gib=3.5)
    finding = only(memory)
    assert (finding.status, finding.fix) == ("warning", "--set resources.max_concurrent=2")
    assert finding.detail.startswith("3.5 GiB available, and 4 trials")
    assert only(memory, "resources.max_concurrent=2").status == "ok"
    available(1.5)
    assert only(memory).status == "broken"
    assert only(memory, address="10.0.0.1:6379").status == "ok"  # trials are elsewhere


def test_no_word_on_memory(tmp_path: Path, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert only(memory).status == "skipped"


def test_little_shared_memory(only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=64 * 2**20))
    finding = only(shared_memory)
    assert finding.status == "warning"
    assert "docker run --shm-size" in finding.fix


def test_few_open_files(only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 1024))
    finding = only(open_files)
    assert finding.status == "warning"
    assert "at most 1024 per process" in finding.detail
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, resource.RLIM_INFINITY))
    assert only(open_files).status == "ok"


def test_torch_works(only: Only) -> None:
    assert only(torch_works).status == "ok"


def test_an_operator_that_is_missing(only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", missing)
    finding = only(torch_works)
    assert finding.status == "broken"
    assert "operator torchvision::nms does not exist" in finding.detail
    assert "--force-reinstall" in finding.fix
    assert finding.fix.startswith("pip install -c ")


def test_operators_that_are_wrong(only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.ops, "nms", lambda *arguments: torch.tensor([0, 1, 2]))
    assert "keeps boxes [0, 1, 2] where 0 and 2 are right" in only(torch_works).detail
    monkeypatch.setattr(torch.nn.init, "ones_", torch.nn.init.zeros_)
    assert "a convolution of ones gives 0" in only(torch_works).detail


def test_a_gpu_that_the_sweep_asks_for(only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_DRIVER", Path("/nowhere"))
    monkeypatch.setattr(compute, "_DEVICES", ())
    assert only(cuda, file="quickstart").status == "skipped"
    finding = only(cuda, "resources.gpus_per_trial=0.5", file="quickstart")
    assert finding.status == "broken"
    assert finding.detail == "no CUDA device, and a trial asks for 0.5 GPU"
    assert finding.fix.endswith("resources.gpus_per_trial: 0")
    assert only(cuda, "resources.gpus_per_trial=1", file="quickstart", address="10.0.0.1:6379").status == "skipped"


def test_a_driver_that_torch_cannot_use(tmp_path: Path, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27\n")
    monkeypatch.setattr(compute, "_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finding = only(cuda, "resources.gpus_per_trial=1", file="quickstart")
    assert finding.status == "broken"
    assert "there is an NVIDIA driver 470.82.01, but" in finding.detail
    assert "CUDA_VISIBLE_DEVICES is ''" in finding.detail


def test_a_device_that_cannot_compute(tmp_path: Path, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    (tmp_path / "version").write_text("470.82.01")
    monkeypatch.setattr(compute, "_DRIVER", tmp_path / "version")
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": refuse,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    finding = only(cuda)
    assert (finding.name, finding.status) == ("cuda:0", "broken")
    assert "no kernel image" in finding.detail
    assert "nvidia-smi" in finding.fix
