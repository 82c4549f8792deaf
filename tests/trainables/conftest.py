"""One thread, a cache of its own for every run, and a task small enough to train on in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.preprocessing import ImagePreprocessing


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoded data of this test run; the user's own cache is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("ORCHESTRATOR_CACHE", str(folder))
        yield folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def small() -> Backbone:
    """An untrained backbone with BatchNorm and dropout that runs in milliseconds. Never change it."""
    return build(lookup("torchvision/mobilenet_v3_small@random"))


@pytest.fixture(scope="session")
def digits(small: Backbone) -> Task:
    """75 digits at 32 px: 33 to train on (a batch of 8 leaves one over), 20 to validate, 22 to test."""
    spec = TaskSpec(name="digits", image_size=32, num_train=33, num_val=20, num_test=22)
    return load_task(spec, small.preprocessing)


@pytest.fixture
def make(small: Backbone, digits: Task) -> Callable[..., Finetuner]:
    """A fine-tuner of `small`, on `digits` unless told another task, with options of its configuration."""
    as_usual = Execution()

    def make(task: Task = digits, execution: Execution = as_usual, **options: Any) -> Finetuner:
        config = {"backbone": small.spec.name, "batch_size": 8, "max_epochs": 2, "learning_rate": 1e-3, **options}
        return Finetuner(FinetuneConfig(**config), small, task, torch.device("cpu"), execution)

    return make


@pytest.fixture
def preprocessing() -> ImagePreprocessing:
    return ImagePreprocessing(
        input_size=16, mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1), interpolation="bilinear", crop_frac=1.0
    )


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """``train`` and ``test`` of three classes, 10 and 4 images each; a class has one colour."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 60, (20, 24, 3), dtype=np.uint8)
                pixels[..., channel] += 190
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root
