"""Datasets of the Hugging Face hub, of a folder in one of its forms, or saved by its library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from trainables.data.sources.contract import PART_OF
from trainables.data.sources.table import Table, arrow_table
from trainables.data.sources.tables import feature_names
from trainables.errors import DataError, MissingExtra, WeightsUnavailable

__all__ = ["is_saved_dataset", "read_hf"]

_SAVED: Final = ("dataset_dict.json", "state.json")
"""What ``save_to_disk`` leaves in the folder of a dataset with splits, and of one without."""


def is_saved_dataset(path: Path) -> bool:
    """Whether ``save_to_disk`` wrote the folder."""
    return any((path / name).is_file() for name in _SAVED)


def read_hf(name: str) -> tuple[list[tuple[int, Table]], list[str]]:
    """The splits of ``<dataset>[@configuration]`` as tables, and notes on those left aside.

    Code that a dataset brings along is never run: the library stopped to support it.

    Raises:
        MissingExtra: the library is not installed.
        DataError: there is no such dataset, it cannot be fetched, or it has no split that trains.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra('datasets of the hub are read by datasets: pip install "orchestrator[text]"') from error
    splits = _load(name)
    if isinstance(splits, datasets.Dataset):
        splits = {"train": splits}
    parts = {split: PART_OF[split.lower()] for split in splits if split.lower() in PART_OF}
    notes = [
        f"split {split!r} of hf/{name} ({len(splits[split]):,} rows) is not used"
        for split in splits
        if split not in parts
    ]
    if 0 not in parts.values():
        raise DataError(f"hf/{name} has no train split; it has {', '.join(map(repr, splits))}")
    twice = [split for split in parts if list(parts.values()).count(parts[split]) > 1]
    if twice:
        raise DataError(
            f"hf/{name} has {' and '.join(map(repr, twice))}, which name one split; save it with one of them"
        )
    ordered = sorted(parts.items(), key=lambda item: item[1])
    folder = Path(name) if _is_local(name) else Path()
    return [(part, _table(f"hf/{name} {split}", folder, splits[split])) for split, part in ordered], notes


def _is_local(name: str) -> bool:
    return name.startswith((".", "/", "~"))


def _load(name: str) -> Any:
    if _is_local(name):
        return _load_folder(Path(name).expanduser())
    import datasets

    path, _, configuration = name.partition("@")
    missing = f"dataset {path!r} is not in the cache of {datasets.config.HF_DATASETS_CACHE}"
    try:
        with _offline():
            return datasets.load_dataset(path, configuration or None)
    except Exception as error:  # whatever it is, the hub is asked next, or why not is said
        cached = error
    if isinstance(cached, ValueError) and "onfig" in str(cached):
        raise DataError(f"hf/{name}: {cached}") from cached
    try:
        _require_hub(missing)
        return datasets.load_dataset(path, configuration or None)
    except WeightsUnavailable as error:
        raise DataError(
            f"{missing} and the hub cannot be asked ({error.__cause__ or 'HF_HUB_OFFLINE is set'}); load it once where "
            "there is a network and bring the cache along, or save it with save_to_disk and set data to hf/./folder"
        ) from error
    except Exception as error:
        raise DataError(f"hf/{name} cannot be loaded: {error}") from error


def _load_folder(folder: Path) -> Any:
    import datasets

    if not folder.is_dir():
        raise DataError(f"hf/{folder}: no such folder; looked in {folder.resolve()}")
    try:
        with _offline():
            if is_saved_dataset(folder):
                return datasets.load_from_disk(str(folder))
            return datasets.load_dataset(str(folder))
    except Exception as error:  # of the many formats that the library reads, each fails in its own way
        raise DataError(
            f"hf/{folder} is neither a dataset saved by save_to_disk nor a folder that datasets can load: {error}"
        ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Look in the cache only, quietly and without the hub client's half minute of retries."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, datasets.are_progress_bars_disabled()
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before[:2]
        if not before[2]:
            datasets.enable_progress_bars()


def _require_hub(missing: str) -> None:
    from huggingface_hub import constants

    from trainables.network import require_network

    if constants.HF_HUB_OFFLINE:
        raise WeightsUnavailable(missing)
    require_network(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), missing)


def _table(place: str, folder: Path, dataset: Any) -> Table:
    names, types = feature_names(dataset.features.to_dict())
    # The Arrow format hands out the stored bytes: nothing is decoded, whatever the features are.
    return arrow_table(
        dataset.with_format("arrow")[:],
        place=place,
        folder=folder,
        key=hashlib.sha256(f"{place}\0{dataset._fingerprint}".encode()).hexdigest()[:16],
        class_names=names,
        types=types,
    )
