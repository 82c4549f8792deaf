"""What the cache of frozen activations saves: learning-rate sweeps with and without it, at every kind of depth.

`trainables` alone, one process, one thread. Trials with and without the cache take turns, so that whatever else the
machine does slows both. The cache is empty before each sweep and filled by its first trial.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.fixed_grid import depth_of
from benchmarks.flops import forward_flops, step_bound, sweep_bound
from benchmarks.images import make_photos, take_photos
from benchmarks.machine import machine
from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.execution import Execution
from trainables.finetune import Finetuner

__all__ = ["main"]

BACKBONES: Final = (
    "torchvision/resnet18@random",
    "torchvision/mobilenet_v3_small@random",
    "torchvision/efficientnet_b0@random",
    "timm/convnext_atto@random",
)
DEPTHS: Final = tuple(map(Fraction, ("0", "1/9", "1/3", "1/2", "2/3", "5/6", "1")))
LEARNING_RATES: Final = tuple(10 ** (-4 + index / 4) for index in range(8))
SIDES: Final = {"cached": Execution(activation_cache="auto"), "uncached": Execution(activation_cache="off")}
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one trial took and what it lost."""

    wall_s: float
    cpu_s: float
    """Of the process: it does not wait for other work of the machine."""

    epoch_train_s: tuple[float, ...]
    losses: tuple[float, ...]
    """Of training and of validation after each epoch, and of test."""


def run_trial(
    config: FinetuneConfig, backbone: Backbone, task: Task, execution: Execution, num_runs: int, device: torch.device
) -> Trial:
    """One trial from its start to its test score."""
    started, cpu_started = time.perf_counter(), time.process_time()
    finetuner = Finetuner(config, backbone, task, device, execution, num_runs)
    epochs = list(finetuner.epochs())
    test_loss = finetuner.measure_test().quality.loss
    return Trial(
        wall_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
        epoch_train_s=tuple(epoch.train_s for epoch in epochs),
        losses=(*(loss for epoch in epochs for loss in (epoch.train_loss, epoch.val_loss)), test_loss),
    )


def compare(
    config: FinetuneConfig,
    backbone: Backbone,
    task: Task,
    learning_rates: Sequence[float],
    device: torch.device = CPU,
) -> dict[str, Any]:
    """A learning-rate sweep at the depth of `config` on both sides, and the bounds on what caching can gain."""
    # Whatever a process does once for a shape, or for these weights, is no part of either side.
    run_trial(replace(config, max_epochs=1), backbone, task, SIDES["uncached"], 1, device)
    trials: dict[str, list[Trial]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ORCHESTRATOR_CACHE"] = cache
        for index, rate in enumerate(learning_rates):
            of_rate = replace(config, learning_rate=rate, head_learning_rate=10 * rate)
            for side in list(SIDES)[:: 1 if index % 2 else -1]:
                trial = run_trial(of_rate, backbone, task, SIDES[side], len(learning_rates), device)
                trials[side].append(trial)
        num_bytes = sum(file.stat().st_size for file in Path(cache).rglob("*") if file.is_file())
    flops = forward_flops(backbone, task)
    f = sum(flops[: config.freeze_depth]) / sum(flops)
    sizes = {"num_train": len(task.train), "num_val": len(task.val), "num_test": len(task.test)}
    bound = sweep_bound(f, num_trials=len(learning_rates), epochs=config.max_epochs, **sizes)
    is_probe = config.freeze_depth == backbone.num_blocks
    step_s = {side: min(s for trial in found for s in trial.epoch_train_s) for side, found in trials.items()}
    wall_s = {side: sum(trial.wall_s for trial in found) for side, found in trials.items()}
    cpu_s = {side: sum(trial.cpu_s for trial in found) for side, found in trials.items()}
    row: dict[str, Any] = {
        "backbone": config.backbone,
        "freeze_depth": config.freeze_depth,
        "num_blocks": backbone.num_blocks,
        "trials": len(learning_rates),
        "f": f,
        "cache_mib": num_bytes / 2**20,
        # Of a probe nothing but the head is left, and no bound is worth its name.
        "step_bound": None if is_probe else step_bound(f),
        "step_ratio": step_s["uncached"] / step_s["cached"],
        "sweep_bound": bound,
        "sweep_ratio": wall_s["uncached"] / wall_s["cached"],
        "sweep_cpu_ratio": cpu_s["uncached"] / cpu_s["cached"],
        "max_relative_loss_difference": _difference(trials["cached"], trials["uncached"]),
    }
    row |= {f"{side}_{name}": value[side] for side in SIDES for name, value in (("wall_s", wall_s), ("cpu_s", cpu_s))}
    row["step_ratio_over_bound"] = None if is_probe else row["step_ratio"] / row["step_bound"]
    row["sweep_ratio_over_bound"] = row["sweep_ratio"] / bound
    row["sweep_cpu_ratio_over_bound"] = row["sweep_cpu_ratio"] / bound
    return row


def _difference(cached: Sequence[Trial], uncached: Sequence[Trial]) -> float:
    return max(
        abs(loss - other) / abs(other)
        for one, two in zip(cached, uncached, strict=True)
        for loss, other in zip(one.losses, two.losses, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two backbones, four depths, three rates, fewer images")
    parser.add_argument("--data", type=Path, help="folder of train/ and test/ images in classes; default: made here")
    parser.add_argument("--backbones", nargs="+")
    parser.add_argument("--depths", nargs="+", type=Fraction, help="shares of the blocks, e.g. 0 1/3 2/3 1")
    parser.add_argument("--trials", type=int, help="learning rates of a sweep, up to 8")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--num-train", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    quick = arguments.quick
    torch.set_num_threads(arguments.threads)
    backbones = arguments.backbones or (BACKBONES[1:3] if quick else BACKBONES)
    depths = arguments.depths or (DEPTHS[0::2] if quick else DEPTHS)
    rates = LEARNING_RATES[: arguments.trials or (3 if quick else len(LEARNING_RATES))]
    num_train = arguments.num_train or (64 if quick else 128)
    counts = {"train": num_train, "val": num_train // 2, "test": num_train // 2}
    result: dict[str, Any] = {
        "machine": machine(),
        "threads": arguments.threads,
        "data": str(arguments.data or "made"),
        "images": counts,
        "image_size": arguments.image_size,
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "learning_rates": rates,
        "sweeps": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images"
        make_photos(data, counts) if arguments.data is None else take_photos(data, arguments.data, counts)
        for name in backbones:
            backbone = build(lookup(name))
            os.environ["ORCHESTRATOR_CACHE"] = str(Path(folder) / "cache")
            spec = TaskSpec(name="photos", data=str(data), image_size=arguments.image_size)
            task = load_task(spec, backbone.preprocessing)  # stays mapped when the cache moves
            for depth in dict.fromkeys(depth_of(float(share), backbone.num_blocks) for share in depths):
                config = FinetuneConfig(
                    backbone=name,
                    freeze_depth=depth,
                    max_epochs=arguments.epochs,
                    seed=arguments.seed,
                    precision="fp32",
                )
                # Nothing is frozen at depth 0: two trials show that nothing is lost.
                row = compare(config, backbone, task, rates if depth else rates[:2])
                result["sweeps"].append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
