"""Where somebody's data really lie: in the only folder of a folder, or with their test samples in a file beside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainables.data.source import is_tabular
from trainables.data.sources.contract import PART_OF
from trainables.data.sources.folders import split_folders
from trainables.data.sources.reading import modality_of
from trainables.data.sources.tables import TABLE_SUFFIXES
from trainables.errors import DataError

__all__ = ["Located", "located"]

_ARCHIVES: Final = {".zip": "unzip {0} -d {1}", ".tar": "tar xf {0}", ".tgz": "tar xf {0}", ".gz": "tar xf {0}",
                    ".bz2": "tar xf {0}", ".xz": "tar xf {0}", ".7z": "7z x {0}", ".rar": "unrar x {0}"}  # fmt: skip
_SHEETS: Final = frozenset({".xlsx", ".xls", ".ods"})
_OTHER_TABLES: Final = frozenset(
    {".feather", ".arrow", ".pkl", ".pickle", ".h5", ".hdf5", ".npz", ".npy", ".mat", ".db"}
)
_TRAIN: Final = re.compile(r"(?<![A-Za-z])train(ing)?(?![A-Za-z])", re.IGNORECASE)
_HELD_OUT: Final = {"test": ("test", "testing"), "val": ("val", "valid", "validation", "dev")}
_NO_FOLDERS: Final = frozenset({"__MACOSX"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """Places as `TaskSpec` has them."""

    data: str
    val_data: str | None = None
    test_data: str | None = None
    notes: tuple[str, ...] = ()


def located(data: str, *, alone: bool = False) -> Located:
    """`data`, or the folder inside it that holds the samples, and held-out samples that lie beside it.

    Args:
        data: as `TaskSpec.data`.
        alone: look for nothing beside it.

    Raises:
        DataError: it is a file that has to be unpacked or saved otherwise first.
    """
    path = Path(data)
    if data == "digits" or data.startswith(("torchvision/", "hf/")) or not path.exists():
        return Located(data=data)
    if path.is_file():
        _refuse_other_files(path)
        return Located(data=data) if alone else _with_files_beside(path, data)
    inner = _only_folder(path)
    if not split_folders(inner) and not is_tabular(str(inner)):
        _require_classes(inner)
    notes = () if inner == path else (f"the samples are in {inner}, the only folder there",)
    place = data if inner == path else str(inner)
    if PART_OF.get(inner.name.lower()) == 0 and not alone and not split_folders(inner) and not is_tabular(place):
        splits = split_folders(inner.parent)
        if len(splits) > 1:
            beside = " and ".join(folder.name for part, folder in splits.items() if part)
            return Located(
                data=str(inner.parent),
                notes=(
                    *notes,
                    f"{beside} beside {inner}: taken as its splits",
                ),
            )
    return Located(data=place, notes=notes)


def _require_classes(root: Path) -> None:
    folders = [entry.name for entry in _seen(root) if entry.is_dir()]
    num_samples = sum(modality_of(entry.name) is not None for entry in _seen(root) if entry.is_file())
    if len(folders) > 1:
        return
    if not folders and not num_samples:
        raise DataError(f"{root} has neither folders nor images, texts or sounds; is it the right one?")
    found = f"{num_samples:,} samples and no folders" if not folders else f"one class folder, {folders[0]!r}"
    raise DataError(
        f"{root} has {found}; which class each sample is of is told by one folder per class, at least 2, or by a table "
        "of paths and labels (CSV, JSONL, Parquet)"
    )


def _seen(root: Path) -> list[Path]:
    """What is in a folder, without what archives and editors leave there."""
    return [entry for entry in root.iterdir() if not entry.name.startswith(".") and entry.name not in _NO_FOLDERS]


def _refuse_other_files(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return
    if suffix in _ARCHIVES:
        stem = path.name.split(".")[0]
        raise DataError(
            f"{path} is packed; unpack it and name the folder: {_ARCHIVES[suffix].format(path, path.parent / stem)}"
        )
    if suffix in _SHEETS:
        raise DataError(f"{path} is a spreadsheet; save the sheet as CSV (UTF-8) and name that file")
    if suffix in _OTHER_TABLES:
        raise DataError(f"{path} is no table that is read here; save it as Parquet (pandas: to_parquet) or CSV")
    if modality_of(path.name) is not None:
        raise DataError(
            f"{path} is a single sample; name the folder with one folder per class, or a table of paths and labels"
        )


def _only_folder(root: Path) -> Path:
    """Down through folders that hold nothing but one other folder, as archives unpack."""
    while not split_folders(root) and not is_tabular(str(root)):
        inside = _seen(root)
        folders = [entry for entry in inside if entry.is_dir()]
        files = [entry for entry in inside if entry.is_file() and modality_of(entry.name) is not None]
        if len(folders) != 1 or files or not _holds_more(folders[0]):
            return root
        root = folders[0]
    return root


def _holds_more(folder: Path) -> bool:
    """Whether it has folders or tables of its own: one that has samples alone is a class."""
    has_folders = any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir())
    return has_folders or is_tabular(str(folder))


def _with_files_beside(path: Path, data: str) -> Located:
    """``reviews_test.csv`` beside ``reviews.csv`` or ``reviews_train.csv``."""
    found: dict[str, str] = {}
    for part, names in _HELD_OUT.items():
        stems = [_TRAIN.sub(name, path.stem, count=1) for name in names] if _TRAIN.search(path.stem) else []
        stems += [f"{path.stem}{mark}{name}" for mark in "_-." for name in names] if not stems else []
        there = [file for stem in stems if (file := path.with_name(stem + path.suffix)).is_file()]
        if there:
            found[f"{part}_data"] = str(there[0])
    notes = tuple(
        f"{place} lies beside it: taken as its {key.removesuffix('_data')} samples" for key, place in found.items()
    )
    return Located(data=data, notes=notes, **found)
