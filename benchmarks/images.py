"""Folders of small images for benchmarks: made here, or taken from a folder that a person has."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits

__all__ = ["digit_images", "enlarge", "make_photos", "take_photos"]

Pixels = npt.NDArray[np.uint8]


def make_photos(root: Path, counts: Mapping[str, int], *, side: int = 32, num_classes: int = 10) -> None:
    """PNG images of `num_classes` classes: half the class's own smooth colours, half each image's own, and noise.

    Learnable, and not at a glance: the size and the classes of CIFAR-10 without a download.

    Args:
        root: gets ``train/<class>/`` and so on.
        counts: images of each part, classes in turn.
        side: in pixels.
    """
    rng = np.random.default_rng(0)
    of_class = [_smooth(rng, side) for _ in range(num_classes)]
    for part, count in counts.items():
        for index in range(count):
            label = index % num_classes
            mixed = 0.5 * of_class[label] + 0.5 * _smooth(rng, side) + rng.normal(0, 12, (side, side, 3))
            file = root / part / f"class{label}" / f"{index:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)).save(file)


def take_photos(root: Path, data: Path, counts: Mapping[str, int]) -> None:
    """Copies of the first images of each class of `data`, classes in turn.

    Args:
        root: gets ``train/<class>/`` and so on.
        data: has ``train/<class>/`` and ``test/<class>/``; ``val`` is taken out of its ``train``.
        counts: images of each part.

    Raises:
        FileNotFoundError: there are fewer images than asked for.
    """
    given = {part: _in_turn(data / part) for part in ("train", "test")}
    for part, count in counts.items():
        source = given["test" if part == "test" else "train"]
        taken = list(itertools.islice(source, count))
        if len(taken) < count:
            raise FileNotFoundError(f"{part} asks for {count} images, {data} has {len(taken)} left")
        for file in taken:
            target = root / part / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def digit_images(root: Path, counts: Mapping[str, int]) -> None:
    """The handwritten digits of scikit-learn as PNG files of 8 x 8 pixels, in a fixed random order.

    Args:
        root: gets ``train/<digit>/`` and so on.
        counts: images of each part.
    """
    pixels, labels = load_digits(return_X_y=True)
    order = iter(np.random.default_rng(0).permutation(len(labels)))
    for part, count in counts.items():
        for index in itertools.islice(order, count):
            file = root / part / str(labels[index]) / f"{index:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            grey = (pixels[index].reshape(8, 8) * 255 / 16).round().astype(np.uint8)
            Image.fromarray(grey).convert("RGB").save(file)


def enlarge(root: Path, side: int) -> None:
    """Replace every image below `root` by one of `side` x `side` pixels, as BMP, which costs next to nothing to read.

    Where `side` is the length that a preprocessing resizes to, it has nothing left to round: whoever crops the
    middle gets the very same pixels.
    """
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        with Image.open(file) as image:
            larger = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        file.unlink()
        larger.save(file.with_suffix(".bmp"))


def _in_turn(folder: Path) -> Iterator[Path]:
    classes = [sorted(path.iterdir()) for path in sorted(folder.iterdir()) if path.is_dir()]
    rounds = itertools.zip_longest(*classes)
    return (file for files in rounds for file in files if file is not None)


def _smooth(rng: np.random.Generator, side: int) -> npt.NDArray[np.float64]:
    coarse: Pixels = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float64)
