"""Images are decoded once, whole or not at all, and again when a file changes."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from PIL import Image
from stored_images import encoded, in_memory, load, pixels, refuse_to_open, stored

from trainables.config import TaskSpec
from trainables.data.encode import encode
from trainables.data.source import open_source
from trainables.errors import DataError, InvalidConfig
from trainables.preprocessing import ImagePreprocessing

FORK = multiprocessing.get_context("fork")
"""Of a process that has imported torch already, which takes longer than all these tests together."""


def test_the_second_load_reads_what_the_first_wrote(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(image_folder, preprocessing)
    before = stored(cache)
    monkeypatch.setattr(Image, "open", refuse_to_open)
    second = load(image_folder, preprocessing, split_seed=1)
    assert stored(cache) == before
    assert len(before) == 1
    everything = torch.arange(42)
    assert torch.equal(first.train.samples.batch(everything), second.train.samples.batch(everything))
    assert first.digest == second.digest == hashlib.sha256(first.train.samples.batch(everything).numpy()).hexdigest()


def test_the_splits_share_one_mapping(image_folder: Path, cache: Path, preprocessing: ImagePreprocessing) -> None:
    task = load(image_folder, preprocessing)
    assert task.train.samples is task.val.samples is task.test.samples
    rows = torch.cat([task.train.rows, task.val.rows, task.test.rows])
    assert sorted(rows.tolist()) == list(range(42))


def test_labels_follow_their_images(image_folder: Path, cache: Path, preprocessing: ImagePreprocessing) -> None:
    task = load(image_folder, preprocessing)
    for split in (task.train, task.val, task.test):
        images, labels = split.batch(torch.randperm(len(split)))
        assert isinstance(images, torch.Tensor)
        brightest = images.float().mean(dim=(2, 3)).argmax(dim=1)
        assert [task.class_names[label] for label in labels] == [("red", "green", "blue")[c] for c in brightest]


@pytest.mark.parametrize("change", ["content", "name", "root"])
def test_a_change_is_decoded_anew(
    change: str, image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    before = encoded(image_folder, preprocessing)
    path = image_folder / "train" / "red" / "0.png"
    if change == "content":
        Image.new("RGB", (20, 24), "white").save(path)
    elif change == "name":
        path.rename(path.with_name("zzz.png"))
    else:
        # Another folder of files with the same names, sizes and times is another dataset.
        image_folder = image_folder.rename(image_folder.with_name("moved"))
    after = encoded(image_folder, preprocessing)
    assert len(stored(cache)) == 2
    assert torch.equal(pixels(before)[-12:], pixels(after)[-12:])
    assert (before.digest == after.digest) is (change == "root")


def test_each_preprocessing_has_its_own_file(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    bicubic = replace(preprocessing, interpolation="bicubic", crop_frac=0.875)
    assert encoded(image_folder, preprocessing).digest != encoded(image_folder, bicubic).digest
    assert pixels(encoded(image_folder, preprocessing, image_size=8)).shape == (42, 3, 8, 8)
    assert len(stored(cache)) == 3


def test_normalisation_needs_no_file_of_its_own(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    encoded(image_folder, preprocessing)
    encoded(image_folder, replace(preprocessing, mean=(0, 0, 0), std=(1, 1, 1)))
    assert len(stored(cache)) == 1


def test_threads_change_nothing(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image_folder / "test" / "red" / "2.png").write_bytes(b"x")
    results = []
    for cores in (1, 4):
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(cache / str(cores)))
        monkeypatch.setattr("trainables.data.images.num_cores", lambda cores=cores: cores)
        results.append(encoded(image_folder, preprocessing, on_bad_sample="skip"))
    assert results[0].digest == results[1].digest
    assert results[0].unreadable == results[1].unreadable
    assert (results[0].fingerprints == results[1].fingerprints).all()


def test_fingerprints_are_of_the_pixels_as_loaded(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    red = image_folder / "train" / "red"
    with Image.open(red / "0.png") as image:
        image.save(red / "1.bmp")  # another file of the same pixels
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(red / "2.bmp")
    Image.new("RGB", (8, 16)).save(red / "3.bmp")
    Image.new("RGB", (16, 8)).save(red / "4.bmp")  # the same square, of another image
    source = open_source(TaskSpec(name="t", data=str(image_folder)))
    prints = dict(zip(source.names, encoded(image_folder, preprocessing).fingerprints.tolist(), strict=True))
    assert prints["train/red/0.png"] == prints["train/red/1.bmp"]
    assert len(set(prints.values())) == len(prints) - 1


def test_another_modality_is_refused_before_anything_is_read(cache: Path, preprocessing: ImagePreprocessing) -> None:
    source = replace(in_memory(refuse_to_open, 3), modality="text")
    with pytest.raises(InvalidConfig, match="'t' is of text data, the backbone takes image"):
        encode(source, TaskSpec(name="t"), preprocessing)


@pytest.mark.parametrize("damage", ["torn", "empty", "foreign", "rows"])
def test_a_damaged_file_is_written_again(
    damage: str,
    image_folder: Path,
    cache: Path,
    preprocessing: ImagePreprocessing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digest = encoded(image_folder, preprocessing).digest
    (path,) = stored(cache)
    if damage == "rows":
        digits = TaskSpec(name="t", image_size=16)
        encode(open_source(digits), digits, preprocessing)
        (other,) = set(stored(cache)) - {path}
        other.replace(path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"torn": whole[: len(whole) // 2], "empty": b"", "foreign": b"ARROW1" + bytes(500)}[damage])
    assert encoded(image_folder, preprocessing).digest == digest
    assert f"{path} is damaged and written again" in caplog.text


def encode_slowly(folder: Path, preprocessing: ImagePreprocessing, half_way: Event) -> None:
    """In a process of its own: stays at one image for ever."""
    opened = Image.open

    def slowly(path: Path) -> Image.Image:
        if path.match("train/green/5.png"):
            half_way.set()
            time.sleep(600)
        return opened(path)

    Image.open = slowly  # type: ignore[assignment]
    encoded(folder, preprocessing)


def test_a_killed_writer_leaves_nothing_readable_and_nothing_behind(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    half_way = FORK.Event()
    writer = FORK.Process(target=encode_slowly, args=(image_folder, preprocessing, half_way))
    writer.start()
    assert half_way.wait(timeout=60)
    writer.kill()
    writer.join()
    assert not stored(cache)
    assert list(cache.rglob("*.writing"))
    started = time.monotonic()
    # Another file's writer clears up, too: nobody may ever ask for this one again.
    encoded(image_folder, preprocessing, image_size=8)
    assert not list(cache.rglob("*.writing"))
    task = load(image_folder, preprocessing)
    assert time.monotonic() - started < 30, "the lock of the dead writer was waited for"
    assert len(task.class_names) == 3
    assert {path.suffix for path in (cache / "images").iterdir()} <= {".arrow", ".lock"}


def test_a_file_appears_whole_by_renaming_or_not_at_all(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("trainables.data.publishing.os.replace", refuse)
    with pytest.raises(DataError, match="cannot be written: no space left on device; free some of its disk"):
        encoded(image_folder, preprocessing)
    assert not stored(cache)
    assert not list(cache.rglob("*.writing"))


def encode_counted(folder: Path, preprocessing: ImagePreprocessing, start: Barrier, found: Any) -> None:
    """In a process of its own: what it made, and how many images it opened for it."""
    opened, count = Image.open, []

    def counted(path: Path) -> Image.Image:
        count.append(path)
        return opened(path)

    Image.open = counted  # type: ignore[assignment]
    start.wait(timeout=60)
    found.put((encoded(folder, preprocessing).digest, len(count)))


def test_two_writers_at_once_decode_once(image_folder: Path, cache: Path, preprocessing: ImagePreprocessing) -> None:
    start, found = FORK.Barrier(2), FORK.Queue()
    writers = [FORK.Process(target=encode_counted, args=(image_folder, preprocessing, start, found)) for _ in range(2)]
    for writer in writers:
        writer.start()
    results = [found.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    assert len({digest for digest, _ in results}) == 1
    assert sorted(count for _, count in results) == [0, 42]
    assert len(stored(cache)) == 1


def test_who_waits_says_once_for_what(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing, caplog: pytest.LogCaptureFixture
) -> None:
    encoded(image_folder, preprocessing)
    (path,) = stored(cache)
    path.unlink()
    caplog.set_level("INFO")
    lock = FileLock(f"{path}.lock")
    with ThreadPoolExecutor() as pool, lock:
        waiting = pool.submit(encoded, image_folder, preprocessing)
        time.sleep(0.3)
        assert not waiting.done()
        assert [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()] == [
            f"waiting for the process that encodes {path}"
        ]
        assert not path.exists()
        lock.release()
        assert waiting.result(timeout=20).usable.all()


def test_refusing_large_images_leaves_the_filters_of_warnings_as_they_were(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    before = list(warnings.filters)
    encoded(image_folder, preprocessing)
    assert warnings.filters == before
