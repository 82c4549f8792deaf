"""Images are decoded once, whole or not at all, and again when a file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from trainables.backbones import Preprocessing, build
from trainables.catalog import lookup
from trainables.config import TaskSpec
from trainables.data import Task, load_task
from trainables.data.store import cache_dir


def load(folder: Path, preprocessing: Preprocessing, **spec: int) -> Task:
    return load_task(TaskSpec(name="t", data=str(folder), **spec), preprocessing)


def stored(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}


def test_the_second_load_reads_what_the_first_wrote(
    image_folder: Path, cache: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(image_folder, preprocessing)
    before = stored(cache)
    monkeypatch.setattr("trainables.data.source._read", None)  # decoding would now raise
    second = load(image_folder, preprocessing, split_seed=1)
    assert stored(cache) == before
    assert len(before) == 1
    assert torch.equal(first.train.images, second.train.images)
    assert first.digest == second.digest


def test_the_splits_share_one_mapping(image_folder: Path, cache: Path, preprocessing: Preprocessing) -> None:
    task = load(image_folder, preprocessing)
    assert task.train.images.data_ptr() == task.val.images.data_ptr() == task.test.images.data_ptr()
    rows = torch.cat([task.train.rows, task.val.rows, task.test.rows])
    assert sorted(rows.tolist()) == list(range(42))


def test_labels_follow_their_images(image_folder: Path, cache: Path, preprocessing: Preprocessing) -> None:
    task = load(image_folder, preprocessing)
    for split in (task.train, task.val, task.test):
        images, labels = split.batch(torch.randperm(len(split)))
        brightest = images.float().mean(dim=(2, 3)).argmax(dim=1)
        assert [task.class_names[label] for label in labels] == [("red", "green", "blue")[c] for c in brightest]


@pytest.mark.parametrize("change", ["content", "name", "root"])
def test_a_change_is_decoded_anew(change: str, image_folder: Path, cache: Path, preprocessing: Preprocessing) -> None:
    before = load(image_folder, preprocessing)
    path = image_folder / "train" / "red" / "0.png"
    if change == "content":
        Image.new("RGB", (20, 24), "white").save(path)
    elif change == "name":
        path.rename(path.with_name("zzz.png"))
    else:
        # Another folder of files with the same names, sizes and times is another dataset.
        image_folder = image_folder.rename(image_folder.with_name("moved"))
    after = load(image_folder, preprocessing)
    assert len(stored(cache)) == 2
    assert torch.equal(before.test.images[-12:], after.test.images[-12:])
    assert (before.digest == after.digest) is (change == "root")


def test_each_preprocessing_has_its_own_file(image_folder: Path, cache: Path, preprocessing: Preprocessing) -> None:
    bicubic = Preprocessing(input_size=16, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", crop_frac=0.875)
    assert load(image_folder, preprocessing).digest != load(image_folder, bicubic).digest
    assert load(image_folder, preprocessing, image_size=8).train.images.shape[-1] == 8
    assert len(stored(cache)) == 3


def test_a_killed_writer_leaves_nothing_readable_and_nothing_behind(
    image_folder: Path, cache: Path, preprocessing: Preprocessing
) -> None:
    script = f"""
import time
from pathlib import Path
import trainables.data.source as source
from trainables.backbones import Preprocessing
from trainables.config import TaskSpec
from trainables.data import load_task
read = source._read
def slowly(path):
    if path.name == "5.png":
        print("half way", flush=True)
        time.sleep(60)
    return read(path)
source._read = slowly
load_task(TaskSpec(name="t", data={str(image_folder)!r}), {preprocessing!r})
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half way\n"
        writer.send_signal(signal.SIGKILL)
    assert not stored(cache)
    started = time.monotonic()
    task = load(image_folder, preprocessing)
    assert time.monotonic() - started < 10, "the lock of the dead writer was waited for"
    assert task.num_classes == 3
    assert [path.suffix for path in sorted((cache / "images").iterdir())] in ([".arrow"], [".arrow", ".lock"])


def test_a_file_appears_whole_by_renaming_or_not_at_all(
    image_folder: Path, cache: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("trainables.data.store.os.replace", refuse)
    with pytest.raises(OSError, match="no space left"):
        load(image_folder, preprocessing)
    assert not stored(cache)


def test_two_writers_at_once_decode_once(image_folder: Path, cache: Path, preprocessing: Preprocessing) -> None:
    script = f"""
from trainables.backbones import Preprocessing
from trainables.config import TaskSpec
from trainables.data import load_task
print(load_task(TaskSpec(name="t", data={str(image_folder)!r}), {preprocessing!r}).digest)
"""
    writers = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {writer.communicate(timeout=120)[0] for writer in writers}
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(digests) == 1
    assert len(stored(cache)) == 1


def test_mean_and_deviation_are_the_checkpoints_own(
    image_folder: Path, cache: Path, preprocessing: Preprocessing
) -> None:
    task = load(image_folder, preprocessing)
    assert (task.mean, task.std) == ((0.5, 0.4, 0.3), (0.3, 0.2, 0.1))


def test_images_are_what_the_checkpoints_own_transform_makes_of_them(tmp_path: Path, cache: Path) -> None:
    weights = models.MobileNet_V3_Small_Weights.DEFAULT
    backbone = build(lookup("torchvision/mobilenet_v3_small@random"))
    rng = np.random.default_rng(0)
    images = []
    for index, (width, height) in enumerate([(300, 280), (400, 270), (256, 256), (260, 390), (500, 300), (99, 80)]):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        images.append(coarse.resize((width, height), Image.Resampling.BICUBIC))
        folder = tmp_path / "data" / ("a" if index < 3 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        images[-1].save(folder / f"{index}.png")
    task = load(tmp_path / "data", backbone.preprocessing, num_train=2, num_val=2, num_test=2)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (task.mean, task.std))
    for ours, image in zip(task.train.images, images, strict=True):
        theirs = weights.transforms()(image) * std + mean
        difference = (ours - theirs * 255).abs()
        assert difference.max() < 1.01  # one level of 256, where rounding falls the other way
        assert difference.mean() < 0.01


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("ORCHESTRATOR_CACHE", "/o")
    assert cache_dir() == Path("/o")
    monkeypatch.delenv("ORCHESTRATOR_CACHE")
    assert cache_dir() == Path("/x/orchestrator")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "orchestrator"
