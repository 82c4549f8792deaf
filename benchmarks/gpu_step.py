"""Training steps on a GPU: samples per second of `trainables` beside a hand-written loop with the same tricks and a
loop in the style of torchvision's references, share of the matmul peak, and learning-rate sweeps with and without the
cache of frozen activations.

Needs torch, torchvision, timm and `trainables`. Images are made here and decoded before anything is timed; every side
has them in the memory of the host. Sides take turns, epoch by epoch, and the best epoch of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from benchmarks.flops import forward_flops
from benchmarks.gpu_loops import Images, hand_written_epochs, make_model, reference_epochs
from benchmarks.images import make_photos
from benchmarks.machine import machine
from benchmarks.prefix_cache import compare
from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.preprocessing import ImagePreprocessing

__all__ = ["main"]

FROZEN: Final = (0.0, 0.5)
SWEEP_SHARES: Final = (0.5, 0.75, 0.9, 1.0)
OURS: Final = "ours"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run."""

    models: tuple[str, ...]
    batch_size: int
    num_train: int
    rounds: int
    """Epochs of each side, after one to warm up."""

    sweep_trials: int
    sweep_epochs: int
    sweep_train: int
    matmul_side: int
    num_workers: int
    """Of the reference loop's DataLoader."""


FULL: Final = Scale(
    models=("torchvision/resnet50@random", "timm/vit_base_patch16_224@random"),
    batch_size=128,
    num_train=2048,
    rounds=4,
    sweep_trials=48,
    sweep_epochs=2,
    sweep_train=512,
    matmul_side=8192,
    num_workers=8,
)
QUICK: Final = Scale(
    models=("torchvision/resnet18@random", "timm/vit_tiny_patch16_224@random"),
    batch_size=10,
    num_train=20,
    rounds=1,
    sweep_trials=2,
    sweep_epochs=1,
    sweep_train=20,
    matmul_side=512,
    num_workers=0,
)


def matmul_flops_per_s(side: int, device: torch.device) -> float:
    """Of square bf16 matrices, the best of several runs."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        for _ in range(4):
            left @ right
        _wait(device)
        best = min(best, (time.perf_counter() - started) / 4)
    return 2 * side**3 / best


def throughput(
    backbone: Backbone, task: Task, frozen_frac: float, scale: Scale, peak: float, device: torch.device
) -> dict[str, Any]:
    """Samples per second of each side with a share of the blocks frozen."""
    name, num = backbone.spec.name, len(task.train)
    depth = round(frozen_frac * backbone.num_blocks)
    images = _images(task)

    def model() -> tuple[nn.Module, list[nn.Module]]:
        return make_model(name, len(task.class_names), frozen_frac)

    size, num_workers = scale.batch_size, scale.num_workers
    sides = {
        OURS: _our_epochs(backbone, task, depth, scale, device),
        "hand_written": hand_written_epochs(*model(), images, size, device),
        "reference_fp32": reference_epochs(*model(), images, size, device, amp=False, num_workers=num_workers),
        "reference_amp": reference_epochs(*model(), images, size, device, amp=True, num_workers=num_workers),
    }
    turns = [[next(seconds) for seconds in sides.values()] for _ in range(1 + scale.rounds)]
    best = dict(zip(sides, map(min, zip(*turns[1:], strict=True)), strict=True))  # the first warms up
    flops = forward_flops(backbone, task)
    f = sum(flops[:depth]) / sum(flops)
    per_s = {side: num / seconds for side, seconds in best.items()}
    return {
        "backbone": name,
        "freeze_depth": depth,
        "num_blocks": backbone.num_blocks,
        "f": f,
        **{f"{side}_per_s": rate for side, rate in per_s.items()},
        **{f"ours_over_{side}": per_s[OURS] / rate for side, rate in per_s.items() if side != OURS},
        # A forward pass, and two more for the gradients of what is tuned.
        "ours_of_matmul_peak": per_s[OURS] * sum(flops) * (3 - 2 * f) / peak,
    }


def _our_epochs(backbone: Backbone, task: Task, depth: int, scale: Scale, device: torch.device) -> Iterator[float]:
    config = FinetuneConfig(
        backbone=backbone.spec.name,
        freeze_depth=depth,
        batch_size=scale.batch_size,
        max_epochs=1 + scale.rounds,
        learning_rate=1e-4,
        head_learning_rate=1e-3,
        precision="bf16",
    )
    finetuner = Finetuner(config, backbone, task, device, Execution(activation_cache="off"))
    return (epoch.train_s for epoch in finetuner.epochs())


def _images(task: Task) -> Images:
    preprocessing = task.preprocessing
    if not isinstance(preprocessing, ImagePreprocessing):
        raise TypeError(f"{task.spec.name} is not a task of images")
    pixels, labels = task.train.batch(torch.arange(len(task.train)))
    if not isinstance(pixels, torch.Tensor):
        raise TypeError("images are one tensor")
    return Images(pixels=pixels, labels=labels, mean=preprocessing.mean, std=preprocessing.std)


def sweep(backbone: Backbone, task: Task, share: float, scale: Scale, device: torch.device) -> dict[str, Any]:
    """A learning-rate sweep at the depth whose frozen share of the FLOPs is nearest to `share`."""
    flops = forward_flops(backbone, task)
    shares = [frozen / sum(flops) for frozen in itertools.accumulate(flops[:-1], initial=0)]
    depth = backbone.num_blocks if share == 1.0 else min(range(len(shares)), key=lambda d: abs(shares[d] - share))
    config = FinetuneConfig(
        backbone=backbone.spec.name,
        freeze_depth=depth,
        batch_size=min(scale.batch_size, 64),
        max_epochs=scale.sweep_epochs,
    )
    rates = [10 ** (-5 + 2 * index / scale.sweep_trials) for index in range(scale.sweep_trials)]
    return compare(config, backbone, task, rates, device)


def _add(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    rows.append(row)
    print(json.dumps(row), file=sys.stderr, flush=True)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _made_task(folder: Path, backbone: Backbone, num_train: int, image_size: int | None) -> Task:
    os.environ["ORCHESTRATOR_CACHE"] = str(folder / "cache")
    data = folder / f"images{num_train}"
    if not data.exists():
        make_photos(data, {"train": num_train, "val": max(20, num_train // 4), "test": max(20, num_train // 4)})
    return load_task(TaskSpec(name="photos", data=str(data), image_size=image_size), backbone.preprocessing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("throughput", "sweep"), default=("throughput", "sweep"))
    parser.add_argument("--models", nargs="+", help="a ResNet of torchvision, a vision transformer of timm")
    parser.add_argument("--shares", nargs="+", type=float, default=SWEEP_SHARES, help="f of the sweeps")
    parser.add_argument("--image-size", type=int, help="default: each model's own; another one for ResNets alone")
    parser.add_argument("--quick", action="store_true", help="small models, few images: shows that it runs")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only with --quick")
    arguments = parser.parse_args()
    if arguments.device == "cpu" and not arguments.quick:
        parser.error("--device cpu says nothing about a GPU: it is for --quick alone")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"machine": machine(), "skipped": "no CUDA device"}, indent=2))
        return
    device = torch.device(arguments.device)
    scale = QUICK if arguments.quick else FULL
    peak = matmul_flops_per_s(scale.matmul_side, device)
    result: dict[str, Any] = {
        "machine": machine(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "matmul_tflops_per_s": peak / 1e12,
        "batch_size": scale.batch_size,
        "throughput": [],
        "sweeps": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.models or scale.models:
            backbone = build(lookup(name))
            if "throughput" in arguments.parts:
                task = _made_task(Path(scratch), backbone, scale.num_train, arguments.image_size)
                for frozen_frac in FROZEN:
                    _add(result["throughput"], throughput(backbone, task, frozen_frac, scale, peak, device))
            if "sweep" in arguments.parts:
                task = _made_task(Path(scratch), backbone, scale.sweep_train, arguments.image_size)
                for share in arguments.shares:
                    _add(result["sweeps"], sweep(backbone, task, share, scale, device))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
