"""torch and torchvision: do their operators really work, on this CPU and on the GPUs?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orchestrator.doctor.finding import Finding, broken, ok, skipped, warning
from orchestrator.doctor.subject import Subject
from orchestrator.doctor.versions import pip_install
from trainables.cores import num_cores

__all__ = ["cuda", "torch_works"]

_DRIVER: Final = Path("/proc/driver/nvidia/version")
_DEVICES: Final = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
_MIB: Final = 2**20


def torch_works(subject: Subject) -> Iterator[Finding]:
    """A convolution forwards and backwards, an operator that torchvision compiled, and as many threads as asked for."""
    reinstall = f"{pip_install(('torch', 'torchvision'))} --force-reinstall --no-deps"
    try:
        import torch
        import torchvision
    except Exception as error:  # a library built for another torch raises RuntimeError, OSError, AttributeError
        yield broken("torch", f"torch or torchvision cannot be imported: {error}", reinstall)
        return
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    try:
        if wrong := _wrong_numbers(torch, "cpu"):
            yield broken("torch", f"{versions}: {wrong}", reinstall)
            return
        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
        kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
    except Exception as error:
        yield broken("torch", f"{versions}: an operator fails: {error}", reinstall)
        return
    if kept != [0, 2]:
        yield broken("torch", f"{versions}: torchvision::nms keeps boxes {kept} where 0 and 2 are right", reinstall)
        return
    wanted = subject.config.resources.cpus_per_trial
    torch.set_num_threads(wanted)
    cores = num_cores()
    if wanted > cores and subject.sweep is not None and subject.address is None:
        yield warning(
            "torch",
            f"{versions}: operators work, but a trial wants {wanted} threads and this machine has {cores} cores",
            f"--set resources.cpus_per_trial={cores}",
        )
        return
    yield ok("torch", f"{versions}: convolution, gradient and torchvision::nms work")


def _wrong_numbers(torch: Any, device: str) -> str | None:
    """A convolution of ones, whose values and gradients are known; what is wrong with it."""
    layer = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False).to(device)
    torch.nn.init.ones_(layer.weight)
    answer = layer(torch.ones(2, 3, 8, 8, device=device))
    answer.sum().backward()
    middle, gradient = float(answer[0, 0, 4, 4].item()), float(layer.weight.grad[0, 0, 1, 1].item())
    if middle == 27.0 and gradient == 128.0:
        return None
    return f"a convolution of ones gives {middle:g} and gradient {gradient:g} where 27 and 128 are right"


def cuda(subject: Subject) -> Iterator[Finding]:
    """Driver, devices, their memory, and whether they compute, in bfloat16 as well."""
    wanted = _wanted_gpus(subject)
    driver = _DRIVER.is_file() or any(Path(path).exists() for path in _DEVICES)
    if not driver:
        # Where there is no driver, torch need not be loaded to say so.
        yield _without("no CUDA device", wanted, "a machine with a GPU and NVIDIA's driver")
        return
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "torch was built without CUDA" if built is None else f"torch (CUDA {built}) cannot use it"
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why += f"; CUDA_VISIBLE_DEVICES is {hidden!r}" if hidden is not None else ""
        text = f"there is an NVIDIA driver{_driver_version()}, but {why}"
        yield _without(text, wanted, f"see nvidia-smi; or {pip_install(('torch', 'torchvision'))}")
        return
    for index in range(torch.cuda.device_count()):
        yield _device(torch, index)


def _without(text: str, wanted: float, fix: str) -> Finding:
    if wanted:
        return broken("cuda", f"{text}, and a trial asks for {wanted:g} GPU", f"{fix}; or resources.gpus_per_trial: 0")
    return skipped("cuda", text)


def _wanted_gpus(subject: Subject) -> float:
    """GPUs a trial asks for on this machine: none where trials run on a cluster, or take what there is."""
    sweep = subject.sweep
    if sweep is None or subject.address is not None or sweep.resources.gpus_per_trial == "auto":
        return 0.0
    return float(sweep.resources.gpus_per_trial)


def _driver_version() -> str:
    words = _DRIVER.read_text(encoding="utf-8", errors="replace").split() if _DRIVER.is_file() else []
    version = next((word for word in words if word[0].isdigit() and "." in word), "")
    return f" {version}" if version else ""


def _device(torch: Any, index: int) -> Finding:
    name, device = f"cuda:{index}", torch.device("cuda", index)
    try:
        about = torch.cuda.get_device_properties(device)
        free, total = torch.cuda.mem_get_info(device)
        wrong = _wrong_numbers(torch, f"cuda:{index}")
        with torch.autocast("cuda", torch.bfloat16):
            half = (torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)).float()
        wrong = wrong or (None if bool((half == 64).all()) else "a product of bfloat16 matrices is wrong")
    except Exception as error:
        return broken(name, f"it cannot compute: {error}", f"see nvidia-smi; or CUDA_VISIBLE_DEVICES without {index}")
    text = (
        f"{about.name}, driver{_driver_version()}, {free // _MIB} of {total // _MIB} MiB free, "
        f"bfloat16 {'yes' if torch.cuda.is_bf16_supported() else 'emulated'}"
    )
    if wrong:
        return broken(name, f"{text}: {wrong}", "test the device: nvidia-smi -q -d ECC")
    if free < total / 2:
        return warning(name, f"{text}: others hold most of its memory", "end them (nvidia-smi names them), or wait")
    return ok(name, text)
