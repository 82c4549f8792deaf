"""What the data layer costs and saves: images decoded once and memory-mapped, against torchvision's ImageFolder
with a DataLoader that decodes every image in every epoch.

Same images, weights, batch size, threads and training step on both sides. An epoch is a pass over the training
split and one over validation; the first one of ours also decodes (the share of these two splits in all images).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

from benchmarks.machine import machine
from trainables.backbones import Backbone, build, replace_head
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Split, Task, load_task
from trainables.data.source import open_source
from trainables.finetune import Finetuner
from trainables.freezing import freeze
from trainables.optimization import make_optimizer
from trainables.preprocessing import ImagePreprocessing

__all__ = ["main"]

BACKBONES = ("timm/tf_efficientnet_lite0", "torchvision/mobilenet_v3_small@random")
BATCH_SIZE = 32
PARTS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Both:
    """One task as both sides have it."""

    task: Task
    decode_s: float
    """Of the images of `train` and `val`."""

    train: Dataset[Any]
    val: Dataset[Any]

    @property
    def num_images(self) -> int:
        return len(self.task.train) + len(self.task.val)


def make_images(root: Path, num_train: int, num_val: int, *, side: int = 256) -> None:
    """JPEG images of two classes: colour gradients with noise of two scales, about as large as photographs."""
    rng = np.random.default_rng(0)
    for part, count in (("train", num_train), ("val", num_val), ("test", 4)):
        for index in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
            pixels = np.clip(smooth + rng.integers(-12, 12, smooth.shape), 0, 255).astype(np.uint8)
            folder = root / part / "ab"[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=90)


def open_both(data: Path, preprocessing: ImagePreprocessing, num_train: int, num_val: int) -> Both:
    """Encode `data` into an empty cache, timed (the better of two), and find the same splits for the plain side."""
    spec = TaskSpec(name="benchmark", data=str(data), num_train=num_train, num_val=num_val)
    names = open_source(spec).names
    seconds = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["ORCHESTRATOR_CACHE"] = cache
            started = time.perf_counter()
            task = load_task(spec, preprocessing)  # its file stays mapped when the folder goes
            seconds.append(time.perf_counter() - started)
    decode_s = min(seconds) * (len(task.train) + len(task.val)) / len(names)
    plain = (_same_images(data, [names[row] for row in s.rows], preprocessing) for s in (task.train, task.val))
    train, val = plain
    return Both(task=task, decode_s=decode_s, train=train, val=val)


def _same_images(root: Path, names: list[str], preprocessing: ImagePreprocessing) -> Dataset[Any]:
    size = preprocessing.input_size
    mode = transforms.InterpolationMode(preprocessing.interpolation)
    transform = transforms.Compose(
        [
            transforms.Resize(math.floor(size / preprocessing.crop_frac + 1e-6), mode),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    part = names[0].split("/")[0]
    folder = datasets.ImageFolder(str(root / part if part in PARTS else root), transform)
    position = {Path(path): index for index, (path, _) in enumerate(folder.samples)}
    return Subset(folder, [position[root / name] for name in names])


def our_batches(split: Split, prepare: torch.nn.Module) -> Iterator[Tensor]:
    for positions in torch.randperm(len(split)).split(BATCH_SIZE):
        yield prepare(split.batch(positions)[0])


def data_rates(both: Both, num_workers: int) -> dict[str, float]:
    """Normalised training images per second with no model behind them."""
    prepare = both.task.preprocessing.on_device()
    num = len(both.task.train)
    seconds = {"ours": min(_seconds(our_batches(both.task.train, prepare)) for _ in range(3))}
    for workers in sorted({0, num_workers}):
        loader = DataLoader(both.train, BATCH_SIZE, shuffle=True, num_workers=workers)
        seconds[f"plain_{workers}_workers"] = min(_seconds(iter(loader)) for _ in range(2))
    rates = {f"{name}_per_s": num / s for name, s in seconds.items()}
    rates |= {f"ours_over_{name}": s / seconds["ours"] for name, s in seconds.items() if name != "ours"}
    return {**rates, "decode_per_s": both.num_images / both.decode_s}


def _seconds(batches: Iterator[Any]) -> float:
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


def our_epochs(config: FinetuneConfig, backbone: Backbone, both: Both) -> Iterator[float]:
    """Seconds of each epoch."""
    for metrics in Finetuner(config, backbone, both.task, torch.device("cpu")).epochs():
        yield metrics.train_s + metrics.eval_s


def plain_epochs(config: FinetuneConfig, backbone: Backbone, both: Both, num_workers: int) -> Iterator[float]:
    """The same as a training script has it: frozen blocks in eval mode, a DataLoader per split."""
    model = copy.deepcopy(backbone)
    replace_head(model, len(both.task.class_names), config.seed)
    freeze(model, config.freeze_depth)
    model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(config, model)
    train = DataLoader(both.train, config.batch_size, shuffle=True, num_workers=num_workers)
    val = DataLoader(both.val, 256, num_workers=num_workers)
    for _ in range(config.max_epochs):
        started = time.perf_counter()
        model.train()
        for images, labels in train:
            loss = cross_entropy(model(images.to(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            for images, _ in val:
                model(images.to(memory_format=torch.channels_last))
        yield time.perf_counter() - started


def compare(config: FinetuneConfig, backbone: Backbone, both: Both, num_workers: int) -> dict[str, Any]:
    """Images per second of an epoch that finds the images encoded (``later``), and of one that encodes them."""
    sides = {"ours": our_epochs(config, backbone, both)}
    for workers in sorted({0, num_workers}):
        sides[f"plain_{workers}_workers"] = plain_epochs(config, backbone, both, workers)
    # An epoch of each in turn, and the best of each: what else the machine does then slows all of them alike.
    turns = list(zip(*sides.values(), strict=True))
    best = dict(zip(sides, map(min, zip(*turns, strict=True)), strict=True))
    ours = {"later": best["ours"], "first": best["ours"] + both.decode_s}
    row: dict[str, Any] = {"freeze_depth": config.freeze_depth, "num_blocks": backbone.num_blocks}
    row |= {f"{side}_per_s": both.num_images / seconds for side, seconds in best.items()}
    row |= {
        f"ours_over_{side}_{epoch}": best[side] / seconds
        for epoch, seconds in ours.items()
        for side in best
        if side != "ours"
    }
    return {"backbone": config.backbone, **row}


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of images with class folders; default: images made here")
    parser.add_argument("--num-train", type=int, default=128)
    parser.add_argument("--num-val", type=int, default=32)
    parser.add_argument(
        "--threads", type=int, default=max(1, cores - 1), help="of torch; default: all cores but the one of a loader"
    )
    parser.add_argument("--epochs", type=int, default=3, help="of each side, in turn; the best of each counts")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {
        "machine": {**machine(), **{name: version(name) for name in ("torchvision", "pillow", "timm")}},
        "threads": arguments.threads,
        "data": str(arguments.data or "made"),
        "num_train": arguments.num_train,
        "num_val": arguments.num_val,
        "batch_size": BATCH_SIZE,
        "epochs": arguments.epochs,
        "data_only": [],
        "training": [],
    }
    num_workers = max(1, cores - 1)
    with tempfile.TemporaryDirectory() as made:
        data = arguments.data or Path(made)
        if arguments.data is None:
            make_images(data, arguments.num_train, arguments.num_val)
        for name in BACKBONES:
            backbone = build(lookup(name))
            assert isinstance(backbone.preprocessing, ImagePreprocessing)
            both = open_both(data, backbone.preprocessing, arguments.num_train, arguments.num_val)
            result["data_only"].append({"backbone": name, **data_rates(both, num_workers)})
            num = backbone.num_blocks
            for freeze_depth in (0, num // 2, num):
                config = FinetuneConfig(
                    backbone=name, freeze_depth=freeze_depth, batch_size=BATCH_SIZE, max_epochs=arguments.epochs
                )
                result["training"].append(compare(config, backbone, both, num_workers))
                print(json.dumps(result["training"][-1]), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
