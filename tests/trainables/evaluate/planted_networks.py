"""Networks that are written down and not trained, so that what damages them is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Split, Task
from trainables.data.samples import Pixels, Samples
from trainables.evaluate import Findings, Subject
from trainables.finetune import Finetuner
from trainables.objective import make_objective
from trainables.preprocessing import ImagePreprocessing, Preprocessing, State

SIDE = 32


class Block(nn.Module):
    """A function as a block."""

    def __init__(self, function: Callable[[Any], State]) -> None:
        super().__init__()
        self.function = function

    def forward(self, state: State) -> State:
        return self.function(state)


def linear(weight: Sequence[Sequence[float]] | Tensor, bias: Sequence[float] = ()) -> nn.Linear:
    matrix = torch.as_tensor(weight, dtype=torch.float32)
    layer = nn.Linear(matrix.shape[1], len(matrix), bias=bool(bias))
    layer.weight.data.copy_(matrix)
    if bias:
        layer.bias.data.copy_(torch.tensor(bias))
    return layer


def planted(task: Task, blocks: Sequence[Callable[[Any], State]], head: nn.Module) -> Subject:
    """θ' as a chain of functions; there is no θ and nothing was trained."""
    spec = lookup("timm/test_vit@random")
    modules = [block if isinstance(block, nn.Module) else Block(block) for block in blocks]
    backbone = Backbone(spec, modules, head, task.preprocessing)
    finetuner = SimpleNamespace(
        config=FinetuneConfig(backbone=spec.name),
        task=task,
        device=torch.device("cpu"),
        backbone=backbone,
        pretrained=backbone,
    )
    return Subject(cast(Finetuner, finetuner))


def task_of(
    samples: Samples, targets: Tensor, preprocessing: Preprocessing, kind: Any = "classification", **spec: Any
) -> Task:
    """A task whose samples are all in all of its splits."""
    split = Split(samples=samples, rows=torch.arange(len(samples)), targets=targets)
    num_outputs = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    return Task(
        spec=TaskSpec(name="planted", **spec),
        preprocessing=preprocessing,
        train=split,
        val=split,
        test=split,
        objective=make_objective(kind, num_outputs, targets, targets),
        class_names=tuple(map(str, range(num_outputs))),
        digest="planted",
    )


def images_task(images: Tensor, targets: Tensor, kind: Any = "classification") -> Task:
    """Of uint8 images (n, 3, side, side), which enter a network as numbers in [0, 1]."""
    preprocessing = ImagePreprocessing(
        input_size=images.shape[-1], mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", crop_frac=1.0
    )
    return task_of(Pixels(images), targets, preprocessing, kind)


def squares_task(num: int = 24) -> Task:
    """A dark (class 0) or bright (class 1) square of 8 pixels in the middle of a grey image."""
    rng = np.random.default_rng(0)
    targets = torch.arange(num) % 2
    images = torch.from_numpy(rng.integers(80, 100, (num, 3, SIDE, SIDE)).astype(np.uint8))
    images[:, :, 12:20, 12:20] = torch.where(targets == 1, 220, 20).to(torch.uint8)[:, None, None, None]
    return images_task(images, targets)


def square_reader(task: Task) -> Subject:
    """Answers 1 where the square in the middle is brighter than what is left and right of it."""

    def read(images: Tensor) -> Tensor:
        middle = images[:, :, 12:20, 12:20].mean(dim=(1, 2, 3))
        beside = images[:, :, 12:20, [2, 3, 28, 29]].mean(dim=(1, 2, 3))
        return (middle - beside)[:, None]

    return planted(task, [read], linear([[-1.0], [1.0]]))


def first(task: Task, num: int) -> Task:
    """The same with a test split of the first `num` samples."""
    return replace(task, test=replace(task.test, rows=task.test.rows[:num], targets=task.test.targets[:num]))


def value(findings: Findings, name: str, condition: str = "") -> float:
    """Of the only measure with this name and condition."""
    (found,) = (m.value for m in findings.measures if (m.name, m.condition) == (name, condition))
    return found
