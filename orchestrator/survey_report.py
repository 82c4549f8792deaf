"""What a survey of somebody's data found, in a few lines, and the task that follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from trainables.config import Kind, TaskSpec
from trainables.modality import Modality

__all__ = ["Surveyed", "pool_size", "report_lines", "sized_task"]

_NOUNS: Final = {"image": "images", "text": "texts", "audio": "sounds"}
_UNITS: Final = {"width": "px", "height": "px", "duration_s": "s"}
_CLASSES: Final = 12
_BAD: Final = 5
_HELD_OUT_FRAC: Final = 0.2
_LENGTHS: Final = (32, 64, 128, 256)
_TOKENS_PER_WORD: Final = 1.5
_LONGEST_S: Final = 10.0


class _Range(Protocol):
    @property
    def least(self) -> float: ...
    @property
    def median(self) -> float: ...
    @property
    def most(self) -> float: ...


class Surveyed(Protocol):
    """The part of `trainables.data.survey.Survey` that is reported."""

    @property
    def modality(self) -> Modality: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def num_samples(self) -> int: ...
    @property
    def num_read(self) -> int: ...
    @property
    def class_counts(self) -> Mapping[str, int]: ...
    @property
    def split_counts(self) -> Mapping[str, int]: ...
    @property
    def sizes(self) -> Mapping[str, _Range]: ...
    @property
    def rates(self) -> Mapping[int, int]: ...
    @property
    def unreadable(self) -> Sequence[tuple[str, str]]: ...
    @property
    def num_duplicates(self) -> int: ...
    @property
    def duplicates_across(self) -> Mapping[str, int]: ...
    @property
    def num_contradicting(self) -> int: ...
    @property
    def imbalance(self) -> float | None: ...
    @property
    def notes(self) -> Sequence[str]: ...


def pool_size(found: Surveyed) -> int:
    """Samples that the splits which are not given are taken from, without those that cannot be read."""
    # Which given split an unreadable sample is in is not told: as if all were in the one to train on.
    return found.split_counts.get("train", found.num_samples) - len(found.unreadable)


def sized_task(task: TaskSpec, found: Surveyed, *, resize: bool) -> TaskSpec:
    """`task` with explicit held-out sizes where no split is given, and with a limit on what a sample costs.

    Args:
        resize: whether images may get another size than each checkpoint's own, which not every one takes.
    """
    num_test, num_val = task.num_test, task.num_val
    left = pool_size(found)
    if "test" not in found.split_counts:
        num_test = num_test or max(round(left * _HELD_OUT_FRAC), 1)
        left -= num_test
    if "val" not in found.split_counts:
        num_val = num_val or max(round(left * _HELD_OUT_FRAC), 1)
    return _limited(replace(task, num_test=num_test, num_val=num_val), found, resize=resize)


def _limited(task: TaskSpec, found: Surveyed, *, resize: bool) -> TaskSpec:
    sides = [found.sizes[name].median for name in ("width", "height") if name in found.sizes]
    if task.modality == "image" and task.image_size is None and resize and sides and max(sides) <= 64:
        return replace(task, image_size=32 if max(sides) <= 16 else 64)
    words, seconds = found.sizes.get("words"), found.sizes.get("duration_s")
    if task.modality == "text" and task.max_length is None and words is not None:
        enough = [length for length in _LENGTHS if length >= _TOKENS_PER_WORD * words.most]
        return replace(task, max_length=min(enough, default=_LENGTHS[-1]))
    if task.modality == "audio" and task.max_duration_s is None and seconds is not None:
        return replace(task, max_duration_s=min(max(math.ceil(seconds.most * 10) / 10, 0.1), _LONGEST_S))
    return task


def report_lines(found: Surveyed, task: TaskSpec) -> list[str]:
    """One line per finding, each beginning with what it is about."""
    lines = [f"data        {found.num_samples:,} {_NOUNS[found.modality]}, {found.kind}"]
    if found.class_counts:
        lines.append(f"{'labels' if found.kind == 'multilabel' else 'classes':<12}{_classes(found)}")
    lines.append(f"splits      {_splits(found, task)}")
    lines += [f"{_range(name, size)}" for name, size in found.sizes.items()]
    if len(found.rates) > 1:
        rates = ", ".join(f"{rate} Hz ({count:,})" for rate, count in sorted(found.rates.items()))
        lines.append(f"rates       {rates}: all are resampled")
    if found.num_duplicates:
        across = ", ".join(f"{count:,} in {pair}" for pair, count in found.duplicates_across.items())
        lines.append(f"duplicates  {found.num_duplicates:,} equal an earlier sample{f'; {across}' if across else ''}")
    if found.num_contradicting:
        lines.append(f"labels      {found.num_contradicting:,} samples equal one with another label")
    if found.unreadable:
        lines.append(f"unreadable  {len(found.unreadable):,} samples:")
        lines += [f"              {name}: {reason}" for name, reason in found.unreadable[:_BAD]]
        if len(found.unreadable) > _BAD:
            lines.append(f"              and {len(found.unreadable) - _BAD:,} more")
    lines += [f"note        {note}" for note in found.notes]
    return lines


def _classes(found: Surveyed) -> str:
    ordered = sorted(found.class_counts.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{name} {count:,}" for name, count in ordered[:_CLASSES])
    more = f", and {len(ordered) - _CLASSES} more" if len(ordered) > _CLASSES else ""
    uneven = f"; the largest has {found.imbalance:.1f} times the smallest" if (found.imbalance or 1) > 1.5 else ""
    return f"{len(ordered)}: {named}{more}{uneven}"


def _splits(found: Surveyed, task: TaskSpec) -> str:
    given = ", ".join(f"{name} {count:,}" for name, count in found.split_counts.items())
    made = [
        f"{count:,} {what}"
        for what, split, count in (("to validate", "val", task.num_val), ("to test", "test", task.num_test))
        if split not in found.split_counts and count is not None
    ]
    drawn = f"{' and '.join(made)} drawn at random, stratified" if made else ""
    return "; ".join(part for part in (f"given: {given}" if given else "none given", drawn) if part)


def _range(name: str, size: _Range) -> str:
    unit = _UNITS.get(name, "")
    same = size.least == size.most
    text = f"{size.least:g}" if same else f"{size.least:g} to {size.most:g}, median {size.median:g}"
    return f"{name.removesuffix('_s'):<11} {text} {unit}".rstrip()
