"""Where labelled images come from, before they are decoded."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.config import Kind, TaskSpec
from trainables.errors import DataError
from trainables.modality import Modality

__all__ = ["Source", "open_source"]

SPLIT_FOLDERS: Final = ("train", "val", "test")
IMAGE_SUFFIXES: Final = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Labelled samples of one dataset, none of them read yet."""

    modality: Modality
    kind: Kind = "classification"
    key: str
    """Changes when the data change; names what is encoded from them."""

    names: tuple[str, ...]
    """Of each sample: its path under the root, its line in a file, or its number in a bundled set."""

    targets: npt.NDArray[Any]
    """int64 class numbers (n,); float32 0/1 (n, labels); or float32 numbers (n, targets)."""

    class_names: tuple[str, ...]
    """Of the classes, the labels, or the regression targets."""

    given_split: npt.NDArray[np.int64] | None = None
    """0 train, 1 val, 2 test for each sample, or None where the source has no splits."""

    groups: npt.NDArray[np.int64] | None = None
    """Number of the group of each sample (which must not part between splits), or None."""

    load: Callable[[int], Any]
    """Sample by position: an RGB `PIL.Image.Image`; a text or a pair of texts as a tuple; or a mono
    waveform, float32 in [-1, 1], with its sampling rate in Hz. Raises ValueError for one that cannot
    be read."""

    framed: bool = False
    """Whether the subject fills the image, so that nothing of it may be cropped away."""


def open_source(spec: TaskSpec) -> Source:
    """Open ``digits`` or an image folder.

    Raises:
        DataError: no such folder, or not one of labelled images.
    """
    return _open_digits() if spec.data == "digits" else _open_folder(Path(spec.data))


def _open_digits() -> Source:
    """1,797 handwritten digits of 8 x 8 grey levels 0..16 (UCI, bundled with scikit-learn)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    return Source(
        modality="image",
        key=hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16],
        names=tuple(f"digits[{i}]" for i in range(len(labels))),
        targets=labels,
        class_names=tuple(str(name) for name in bunch.target_names),
        load=lambda index: Image.fromarray(images[index]).convert("RGB"),
        framed=True,
    )


def _open_folder(root: Path) -> Source:
    if not root.is_dir():
        raise DataError(f"data {str(root)!r} is neither 'digits' nor a folder; looked in {root.resolve()}")
    folders = {part: root / part for part in SPLIT_FOLDERS if (root / part).is_dir()}
    if folders and "train" not in folders:
        raise DataError(f"{root} has {' and '.join(folders)} but no train folder")
    parts = list(folders.values()) or [root]
    class_names = _class_names(parts)
    files = [
        (path, label, SPLIT_FOLDERS.index(part.name) if folders else 0)
        for part in parts
        for label, class_name in enumerate(class_names)
        for path in _images(part / class_name)
    ]
    paths = [path for path, _, _ in files]
    return Source(
        modality="image",
        key=_folder_key(root, paths),
        names=tuple(str(path.relative_to(root)) for path in paths),
        targets=np.array([label for _, label, _ in files], dtype=np.int64),
        given_split=np.array([part for _, _, part in files], dtype=np.int64) if folders else None,
        class_names=class_names,
        load=lambda index: _read(paths[index]),
    )


def _class_names(parts: list[Path]) -> tuple[str, ...]:
    """Names of the class folders, which every given split must share."""
    by_part = {
        part: sorted(f.name for f in part.iterdir() if f.is_dir() and not f.name.startswith(".")) for part in parts
    }
    names = by_part[parts[0]]
    for part, found in by_part.items():
        if found != names:
            differing = ", ".join(sorted(set(found) ^ set(names)))
            raise DataError(f"{part} and {parts[0]} must have the same class folders; they differ in {differing}")
    if len(names) < 2:
        raise DataError(
            f"{parts[0]} has {len(names)} class folder(s); expected one folder of images per class, at least 2"
        )
    return tuple(names)


def _images(folder: Path) -> list[Path]:
    """Image files at any depth, sorted; hidden ones (checkpoints of editors, ``._x.jpg``) are not data."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise DataError(f"class folder {folder} has no image; expected files of {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


def _folder_key(root: Path, paths: list[Path]) -> str:
    """Of place, names, sizes and times of change: reading every byte at every start would cost minutes."""
    key = hashlib.sha256(f"{root.resolve()}\n".encode())
    for path in paths:
        stat = path.stat()
        key.update(f"{path.relative_to(root)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return key.hexdigest()[:16]


def _read(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # An image beyond Pillow's pixel limit is a decompression bomb: refuse it, do not warn.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                return _as_rgb(image)
        except Exception as error:  # on damaged files Pillow raises SyntaxError, TypeError and others, too
            raise ValueError(str(error)) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """Eight bits per channel; Pillow's own conversion clips deeper grey to white."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ValueError("its pixels are 32-bit numbers of unknown range; save it with 8 or 16 bits")
        return Image.fromarray((deep // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
