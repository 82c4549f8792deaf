"""Class folders: images, text files or sounds, one folder per class, split or not."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from trainables.config import TaskSpec
from trainables.data.sources.contract import PART_OF, PARTS, Source
from trainables.data.sources.reading import SUFFIXES, modality_of, read, require_reader
from trainables.errors import DataError
from trainables.modality import Modality

__all__ = ["open_folders", "split_folders"]

_Classes: TypeAlias = dict[str, list[Path]]
"""Files of each class folder."""

_NOUN: Final[dict[Modality, str]] = {"image": "image", "text": "text file", "audio": "sound"}


def open_folders(spec: TaskSpec) -> Source:
    """A folder of class folders, or of ``train``, ``val`` and ``test`` with class folders each.

    Raises:
        DataError: no such folder, or not one of samples of one kind, labelled alike in every split.
        MissingExtra: it holds sounds and soundfile is not installed.
    """
    if spec.kind != "classification":
        raise DataError(
            f"{spec.data} is a folder, whose folders can name one class per sample only; kind {spec.kind!r} takes "
            "a table (CSV, JSONL or Parquet) with a column of paths and the labels beside it"
        )
    parts = _parts(spec)
    root = Path(spec.data)
    found = {part: _class_folders(folder) for part, folder in parts.items()}
    class_names = _class_names(parts, found)
    modality, notes = _modality(spec, parts, found)
    files = [
        (path, label, part)
        for part, classes in found.items()
        for label, name in enumerate(class_names)
        for path in _of_modality(modality, parts[part] / name, classes[name])
    ]
    require_reader(modality)
    paths = [path for path, _, _ in files]
    return Source(
        modality=modality,
        key=_key(root, paths),
        names=tuple(str(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths),
        targets=np.array([label for _, label, _ in files], dtype=np.int64),
        given_split=np.array([part for _, _, part in files], dtype=np.int64) if len(parts) > 1 else None,
        class_names=class_names,
        load=lambda index: read(modality, paths[index]),
        notes=notes,
    )


def split_folders(root: Path) -> dict[int, Path]:
    """The folders of `root` that are named as splits, by the number of the split.

    Raises:
        DataError: two of them are names of one split.
    """
    found: dict[int, Path] = {}
    for folder in sorted(root.iterdir()):
        part = PART_OF.get(folder.name.lower())
        if part is None or not folder.is_dir():
            continue
        if part in found:
            raise DataError(f"{root} has both {found[part].name} and {folder.name}; leave one {PARTS[part]} folder")
        found[part] = folder
    return dict(sorted(found.items()))


def _parts(spec: TaskSpec) -> dict[int, Path]:
    """Folder of class folders of each split; everything is ``train`` where there are no splits."""
    root = Path(spec.data)
    _require_folder("data", root)
    parts = split_folders(root)
    if parts and 0 not in parts:
        raise DataError(f"{root} has {' and '.join(folder.name for folder in parts.values())} but no train folder")
    parts = parts or {0: root}
    for key, part, apart in (("val_data", 1, spec.val_data), ("test_data", 2, spec.test_data)):
        if apart is None:
            continue
        _require_folder(key, Path(apart))
        if part in parts:
            raise DataError(f"{key} {apart!r} is given, and {parts[part]} is a {PARTS[part]} split already; drop one")
        if split_folders(Path(apart)):
            raise DataError(f"{key} {apart!r} must be a folder of class folders; it has splits of its own")
        parts[part] = Path(apart)
    return dict(sorted(parts.items()))


def _require_folder(key: str, path: Path) -> None:
    if not path.is_dir():
        raise DataError(f"{key} must be a folder of class folders, got {str(path)!r}; looked in {path.resolve()}")


def _class_folders(part: Path) -> _Classes:
    return {
        folder.name: _files(folder)
        for folder in sorted(part.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }


def _files(folder: Path) -> list[Path]:
    """At any depth, sorted; hidden ones (checkpoints of editors, ``._x.jpg``) are not data."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if modality_of(path.name) is not None
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def _class_names(parts: Mapping[int, Path], found: Mapping[int, _Classes]) -> tuple[str, ...]:
    """Names of the class folders, which every given split must share."""
    names = list(found[0])
    for part, classes in found.items():
        if list(classes) != names:
            differing = ", ".join(sorted(set(classes) ^ set(names)))
            raise DataError(
                f"{parts[part]} and {parts[0]} must have the same class folders; they differ in {differing}"
            )
    if len(names) < 2:
        raise DataError(
            f"{parts[0]} has {len(names)} class folder(s); expected one folder of images, texts or sounds per "
            "class, at least 2"
        )
    return tuple(names)


def _modality(
    spec: TaskSpec, parts: Mapping[int, Path], found: Mapping[int, _Classes]
) -> tuple[Modality, tuple[str, ...]]:
    """Of the files that the most class folders have, and what is said about the others.

    A note beside the images of one class is no sample; two kinds in equally many folders are for a
    person to decide.
    """
    folders = [files for classes in found.values() for files in classes.values()]
    counts = Counter(modality_of(path.name) for files in folders for path in files)
    spread = Counter(modality for files in folders for modality in {modality_of(path.name) for path in files})
    best = [modality for modality in SUFFIXES if spread[modality] == max(spread.values(), default=0)]
    modality = spec.modality or best[0]
    if spec.modality is None and len(best) > 1 and counts:
        raise DataError(
            f"{spec.data} mixes " + " and ".join(f"{counts[m]:,} {_NOUN[m]}s" for m in best) + "; a task has one "
            "kind of sample: set modality, or move the others out"
        )
    others = [f"{count:,} {_NOUN[m]}{'s' * (count > 1)}" for m, count in counts.items() if m and m != modality]
    note = f"left aside: {' and '.join(others)} beside the {_NOUN[modality]}s of {spec.data}"
    return modality, (note,) if others and counts[modality] else ()


def _of_modality(modality: Modality, folder: Path, files: Iterable[Path]) -> list[Path]:
    found = [path for path in files if modality_of(path.name) == modality]
    if not found:
        expected = ", ".join(sorted(SUFFIXES[modality]))
        raise DataError(f"class folder {folder} has no {_NOUN[modality]}; expected files of {expected}")
    return found


def _key(root: Path, paths: Iterable[Path]) -> str:
    """Of place, names, sizes and times of change: reading every byte at every start would cost minutes."""
    base = root.resolve()
    key = hashlib.sha256(f"{base}\n".encode())
    for path in paths:
        stat = path.stat()
        name = os.path.relpath(path, root)
        key.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return key.hexdigest()[:16]
