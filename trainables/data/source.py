"""Where labelled samples come from, before they are encoded."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.config import TaskSpec
from trainables.data.cache import cache_dir
from trainables.data.sources.bundled import open_digits
from trainables.data.sources.contract import Source
from trainables.data.sources.folders import open_folders, split_folders
from trainables.data.sources.hf import is_saved_dataset, read_hf
from trainables.data.sources.table import Table
from trainables.data.sources.tables import TABLE_SUFFIXES, is_folder_of_tables, read_tables
from trainables.data.sources.tabular import open_tables
from trainables.data.sources.torchvision import open_torchvision
from trainables.errors import DataError, did_you_mean

__all__ = ["Source", "is_tabular", "open_source", "read_parts"]

_FORMS = "digits, a folder, a table (CSV, TSV, JSONL, Parquet), torchvision/<dataset> or hf/<dataset>"


def open_source(spec: TaskSpec) -> Source:
    """Open the data of a task, in whichever form `TaskSpec.data` has.

    Raises:
        DataError: there is nothing at that place, or nothing that is labelled as the task asks.
        MissingExtra: an optional dependency reads this form or these samples.
        UnknownName: no dataset of torchvision has the name.
    """
    if spec.data == "digits" or spec.data.startswith("torchvision/"):
        return _open_published(spec)
    if is_tabular(spec.data):
        return open_tables(spec, *read_parts(spec))
    if Path(spec.data).is_file():
        raise DataError(f"data {spec.data!r} is a file of no form that is known by its suffix. Expected {_FORMS}")
    if not Path(spec.data).is_dir():
        raise DataError(
            f"data {spec.data!r} is neither 'digits' nor a folder; looked in {Path(spec.data).resolve()}"
            f"{did_you_mean(spec.data, _neighbours(Path(spec.data)))}. Expected {_FORMS}"
        )
    return open_folders(spec)


def _open_published(spec: TaskSpec) -> Source:
    """Images in classes whose splits, if any, are those they were published with."""
    apart = [key for key in ("val_data", "test_data") if getattr(spec, key) is not None]
    if apart:
        raise DataError(f"{' and '.join(apart)} cannot join {spec.data}; set num_val and num_test to split it")
    if spec.kind != "classification" or spec.modality not in (None, "image"):
        raise DataError(f"{spec.data} is a classification of images, got kind {spec.kind}, modality {spec.modality}")
    if spec.data == "digits":
        return open_digits()
    return open_torchvision(spec.data.removeprefix("torchvision/"), _published_root())


def _published_root() -> Path:
    """``$TORCHVISION_DATA``, else ``datasets`` in the cache."""
    return Path(os.environ.get("TORCHVISION_DATA") or cache_dir() / "datasets")


def is_tabular(data: str) -> bool:
    """Whether samples are rows of tables, rather than files in class folders."""
    path = Path(data)
    if data.startswith("hf/") or path.suffix.lower() in TABLE_SUFFIXES:
        return True
    if not path.is_dir() or split_folders(path):
        return path.is_dir() and is_saved_dataset(path)
    if is_saved_dataset(path):
        return True
    # One table beside several folders is more likely about them than the data.
    folders = [f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")]
    return is_folder_of_tables(path) and len(folders) < 2


def read_parts(spec: TaskSpec) -> tuple[list[tuple[int, Table]], list[str]]:
    """The tables of tabular data, each with the number of its split, and notes on what is left aside.

    Raises:
        DataError: they cannot be read, or a split is given twice.
        MissingExtra: an optional dependency reads this form.
    """
    parts, notes = _read(spec.data)
    for key, part, apart in (("val_data", 1, spec.val_data), ("test_data", 2, spec.test_data)):
        if apart is None:
            continue
        if not is_tabular(apart):
            raise DataError(
                f"{key} {apart!r} must be a table as data {spec.data!r} is; looked in {Path(apart).resolve()}"
            )
        if part in {number for number, _ in parts}:
            raise DataError(f"{key} {apart!r} is given, and {spec.data} has that split already; drop one")
        held_out, more = _read(apart)
        if len({number for number, _ in held_out}) > 1:
            raise DataError(f"{key} {apart!r} must be one table; it has splits of its own")
        parts += [(part, table) for _, table in held_out]
        notes += more
    return parts, notes


def _read(data: str) -> tuple[list[tuple[int, Table]], list[str]]:
    if data.startswith("hf/"):
        return read_hf(data.removeprefix("hf/"))
    if is_saved_dataset(Path(data)):
        return read_hf(data if Path(data).is_absolute() else f"./{data}")
    return read_tables(Path(data)), []


def _neighbours(path: Path) -> list[str]:
    """What lies where `path` was looked for, and the names of bundled sets."""
    parent = path.parent
    beside = [str(parent / found.name) for found in parent.iterdir()] if parent.is_dir() else []
    return ["digits", *beside]
