"""What a dataset holds, measured by reading it once, and the task it suggests."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.config import Kind, TaskSpec
from trainables.cores import num_cores
from trainables.data.beside import located
from trainables.data.described import nothing_readable, open_described
from trainables.data.duplicates import contradictions, copies
from trainables.data.reading import Reader
from trainables.data.source import Source
from trainables.data.sources.contract import PART_OF, PARTS
from trainables.data.split import SplitIndices, split_indices
from trainables.errors import DataError
from trainables.modality import Modality

__all__ = ["Spread", "Survey", "suggest_task", "survey", "try_split"]

MAX_READ: Final = 20_000
"""Of more samples only so many are read: a person waits for the answer."""

_MAX_VAL: Final = 2_000
_MAX_TEST: Final = 5_000
_HELD_OUT_FRAC: Final = 0.2

_SPLIT_NAME: Final = re.compile(r"[-_.](train|training)$", re.IGNORECASE)

_Measured = tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Of a quantity over the samples."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What was found. Everything measured is of the samples that were read."""

    spec: TaskSpec
    """The data as they were opened, with what was found out filled in."""

    modality: Modality
    kind: Kind
    input_columns: tuple[str, ...]
    label_columns: tuple[str, ...]
    """Of a table: those given or found out."""

    num_samples: int
    num_read: int
    """Less than `num_samples` where only a random part was read."""

    class_counts: Mapping[str, int]
    """Samples of each class or label; empty of a regression."""

    split_counts: Mapping[str, int]
    """Samples of each given split; empty where there is none."""

    class_counts_by_split: Mapping[str, Mapping[str, int]]
    """`class_counts` of each given split."""

    sizes: Mapping[str, Spread]
    """``width`` and ``height`` in pixels, ``words``, ``duration_s``, and each target of a regression."""

    rates: Mapping[int, int]
    """Of sounds: how many have each sampling rate in Hz."""

    unreadable: tuple[tuple[str, str], ...]
    """Name and reason of each sample that cannot be read."""

    num_duplicates: int
    """Samples that exactly equal an earlier one."""

    duplicates_across: Mapping[str, int]
    """Samples of a given split that are in an earlier one, too, under ``train/test`` and the like."""

    num_contradicting: int
    """Samples that equal another one of a different label."""

    imbalance: float | None
    """Largest over smallest class (or label) count; None of a regression."""

    notes: tuple[str, ...]

    num_groups: int | None
    """Different values of the group column; None where there is none."""

    other_labels: tuple[str, ...]
    """Columns that might as well be the label, the likeliest first."""

    dates: tuple[str, ...]
    """Columns of dates that are neither input nor label."""

    source: Source = field(repr=False)
    usable: npt.NDArray[np.bool_] = field(repr=False)
    fingerprints: npt.NDArray[np.uint64] = field(repr=False)
    """As `split_indices` takes them. A sample that was not read counts as readable, and as no duplicate."""


def survey(data: str, *, progress: Callable[[int, int], None] | None = None, **fields: Any) -> Survey:
    """Read the samples of `data` and measure them. What `fields` leave open is found out: the kind from the labels,
    the columns of a table from their names and values, held-out samples from files beside it.

    Args:
        data: as `TaskSpec.data`.
        progress: told after each sample how many of how many were read.
        fields: of `TaskSpec`, such as `kind`, `test_data` or `label_columns`.

    Raises:
        DataError: the data cannot be opened at all, not one sample can be read, or their labels are wrong.
        MissingExtra: an optional dependency reads them.
        InvalidConfig: one of the fields is.
    """
    place = located(data, alone=bool(fields.get("test_data") or fields.get("val_data")))
    opened = open_described(place, {"name": _task_name(data), **fields})
    source = opened.source
    rows = np.arange(len(source.names))
    notes = [*place.notes, *opened.notes, *source.notes]
    if len(rows) > MAX_READ:
        rows = np.sort(np.random.default_rng(0).choice(len(rows), MAX_READ, replace=False))
        notes.append(
            f"{MAX_READ:,} of {len(source.names):,} samples were read, chosen at random: sizes, unreadable samples and "
            "duplicates are of those"
        )
    reader: Reader[_Measured] = Reader(
        replace(source, names=tuple(source.names[row] for row in rows), load=lambda i: source.load(int(rows[i]))),
        _measure,
        num_cores(),
    )
    measured: dict[str, list[float]] = {}
    for number, found in enumerate(reader, start=1):
        for quantity, value in found or ():
            measured.setdefault(quantity, []).append(value)
        if progress is not None:
            progress(number, len(rows))
    unreadable = tuple((source.names[rows[row]], reason) for row, reason in reader.unreadable)
    if len(unreadable) == len(rows):
        raise DataError(nothing_readable(opened.spec, source, unreadable))
    usable = np.ones(len(source.names), dtype=np.bool_)
    usable[rows[[row for row, _ in reader.unreadable]]] = False
    fingerprints = np.arange(len(source.names), dtype=np.uint64)
    fingerprints[rows] = reader.fingerprints
    read = np.flatnonzero(usable[rows])
    return Survey(
        spec=replace(opened.spec, kind=source.kind, modality=source.modality),
        modality=source.modality,
        kind=source.kind,
        input_columns=source.input_columns,
        label_columns=source.label_columns,
        num_samples=len(source.names),
        num_read=len(rows),
        sizes={**_spreads(measured), **_target_spreads(source)},
        rates=dict(Counter(int(rate) for rate in measured.get("rate_hz", ()))),
        unreadable=unreadable,
        notes=tuple(dict.fromkeys(notes)),
        num_groups=None if source.groups is None else int(source.groups.max()) + 1,
        other_labels=opened.other_labels,
        dates=opened.dates,
        source=source,
        usable=usable,
        fingerprints=fingerprints,
        **_counts(source),
        **_duplicates(source, rows[read], reader.fingerprints[read]),
    )


def try_split(found: Survey, task: TaskSpec) -> SplitIndices:
    """The splits that `task` will have, but for what was not read.

    Raises:
        DataError: they cannot be made, as when a class has fewer samples than there are splits.
    """
    return split_indices(task, found.source, found.usable, found.fingerprints)


def _measure(sample: Any) -> tuple[_Measured, int]:
    """Its sizes and its fingerprint."""
    if isinstance(sample, Image.Image):
        size = f"{sample.width} {sample.height}".encode()
        found: _Measured = (("width", sample.width), ("height", sample.height))
        return found, _fingerprint(size, sample.tobytes())
    if isinstance(sample, str) or isinstance(sample[0], str):
        texts = (sample,) if isinstance(sample, str) else sample
        found = (("words", sum(len(text.split()) for text in texts)),)
        return found, _fingerprint(*(text.encode("utf-8", "surrogatepass") for text in texts))
    waveform, rate = sample
    return (("duration_s", len(waveform) / rate), ("rate_hz", rate)), _fingerprint(
        str(rate).encode(), waveform.tobytes()
    )


def _fingerprint(*contents: bytes) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for content in contents:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return int.from_bytes(digest.digest(), "little")


def _spreads(measured: Mapping[str, Iterable[float]]) -> dict[str, Spread]:
    return {
        quantity: Spread(least=float(np.min(found)), median=float(np.median(found)), most=float(np.max(found)))
        for quantity, values in measured.items()
        if quantity != "rate_hz"
        for found in [np.asarray(values)]
    }


def _target_spreads(source: Source) -> dict[str, Spread]:
    return _spreads(dict(zip(source.class_names, source.targets.T, strict=True))) if source.kind == "regression" else {}


def _counts(source: Source) -> dict[str, Any]:
    def of_classes(rows: npt.NDArray[Any]) -> dict[str, int]:
        if source.kind == "regression":
            return {}
        targets = source.targets[rows]
        single = source.kind == "classification"
        counts = np.bincount(targets, minlength=len(source.class_names)) if single else targets.sum(axis=0)
        return {name: int(count) for name, count in zip(source.class_names, counts, strict=True)}

    everything = of_classes(np.arange(len(source.targets)))
    given = source.given_split
    by_part = {} if given is None else {name: given == part for part, name in enumerate(PARTS) if (given == part).any()}
    found = [count for count in everything.values() if count]
    return {
        "class_counts": everything,
        "split_counts": {name: int(rows.sum()) for name, rows in by_part.items()},
        "class_counts_by_split": {name: of_classes(np.flatnonzero(rows)) for name, rows in by_part.items()},
        "imbalance": max(found) / min(found) if found else None,
    }


def _duplicates(source: Source, rows: npt.NDArray[np.int64], fingerprints: npt.NDArray[np.uint64]) -> dict[str, Any]:
    every = np.arange(len(rows))
    across = {}
    if source.given_split is not None:
        parts = [np.flatnonzero(source.given_split[rows] == part) for part in range(3)]
        for here, there in ((0, 1), (0, 2), (1, 2)):
            shared = copies(fingerprints, parts[here], parts[there])
            if len(shared):
                across[f"{PARTS[here]}/{PARTS[there]}"] = len(shared)
    return {
        "num_duplicates": len(rows) - len(np.unique(fingerprints)),
        "duplicates_across": across,
        "num_contradicting": len(contradictions(source.targets[rows], fingerprints, every)),
    }


def suggest_task(found: Survey) -> TaskSpec:
    """A task for what a survey found: as it was opened, with held-out splits no larger than it takes to
    tell backbones apart, and unreadable samples skipped."""
    given = found.split_counts
    pool = given.get("train", found.num_samples)
    num_test = None if "test" in given else _at_most(_MAX_TEST, pool)
    num_val = None if "val" in given else _at_most(_MAX_VAL, pool - (num_test or 0))
    return replace(
        found.spec,
        val_data=found.spec.val_data if "val" in given else None,  # else its samples have no labels
        test_data=found.spec.test_data if "test" in given else None,
        input_columns=found.input_columns,
        label_columns=found.label_columns,
        num_val=found.spec.num_val or num_val,
        num_test=found.spec.num_test or num_test,
        on_bad_sample="skip" if found.unreadable else found.spec.on_bad_sample,
    )


def _at_most(limit: int, pool: int) -> int | None:
    """`limit` where the default share of `pool` is more; None leaves that to the default."""
    return limit if pool * _HELD_OUT_FRAC > limit else None


def _task_name(data: str) -> str:
    """Of letters, digits, - and _, from the last part of a path or of a dataset's name."""
    published = data.startswith(("hf/", "torchvision/")) and not data.startswith("hf/.")
    path = PurePath(data.partition("@")[0]) if published else Path(data).resolve()
    stem = (path.parent if path.name.lower() in PART_OF else path).stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", _SPLIT_NAME.sub("", stem) or stem).strip("-_")
    return name or "task"
