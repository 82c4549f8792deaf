"""Loading and encoding images in the tests of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.config import TaskSpec
from trainables.data import Task, load_task
from trainables.data.encode import encode
from trainables.data.samples import Encoded
from trainables.data.source import Source, open_source
from trainables.preprocessing import ImagePreprocessing


def load(folder: Path, preprocessing: ImagePreprocessing, **spec: Any) -> Task:
    return load_task(TaskSpec(name="t", data=str(folder), **spec), preprocessing)


def encoded(folder: Path, preprocessing: ImagePreprocessing, **spec: Any) -> Encoded:
    task = TaskSpec(name="t", data=str(folder), **spec)
    return encode(open_source(task), task, preprocessing)


def pixels(what: Encoded) -> torch.Tensor:
    images = what.samples.batch(torch.arange(len(what.samples)))
    assert isinstance(images, torch.Tensor)
    return images


def stored(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in cache.rglob("*.arrow")}


def refuse_to_open(*_: object, **__: object) -> None:
    raise AssertionError("an image was opened again")


def in_memory(load_one: Any, num: int) -> Source:
    return Source(
        modality="image",
        key="memory",
        names=tuple(map(str, range(num))),
        targets=np.arange(num) % 2,
        class_names=("a", "b"),
        load=load_one,
    )
