"""What a survey of somebody's data found, in a few lines, and the task that follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from trainables.balance import is_balanced
from trainables.config import Kind, TaskSpec
from trainables.modality import Modality

__all__ = ["Surveyed", "is_unbalanced", "num_left", "pool_size", "report_lines", "sized_task"]

_NOUNS: Final = {"image": "images", "text": "texts", "audio": "sounds"}
_CLASSES: Final = 12
_BAD: Final = 5
_HELD_OUT_FRAC: Final = 0.2
_SIDES: Final = (32, 64, 96, 128)
"""Sizes that images are given whose own is not larger: multiples of what convolutional nets halve five times."""

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
    def class_counts(self) -> Mapping[str, int]: ...
    @property
    def split_counts(self) -> Mapping[str, int]: ...
    @property
    def class_counts_by_split(self) -> Mapping[str, Mapping[str, int]]: ...
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
    def num_groups(self) -> int | None: ...
    @property
    def other_labels(self) -> Sequence[str]: ...
    @property
    def dates(self) -> Sequence[str]: ...
    @property
    def notes(self) -> Sequence[str]: ...


def pool_size(found: Surveyed) -> int:
    """Samples that the splits which are not given are taken from, without those that cannot be read."""
    # Which given split an unreadable sample is in is not told: as if all were in the one to train on.
    return found.split_counts.get("train", found.num_samples) - len(found.unreadable)


def num_left(found: Surveyed, task: TaskSpec) -> int:
    """Samples that the held-out splits of `task` leave to train on."""
    made = [("val", task.num_val), ("test", task.num_test)]
    return pool_size(found) - sum(size or 0 for split, size in made if split not in found.split_counts)


def is_unbalanced(found: Surveyed) -> bool:
    """Whether macro F1 will be the metric of a classification: the classes of its test samples are uneven."""
    counts = found.class_counts_by_split.get("test", found.class_counts)
    return found.kind == "classification" and not is_balanced([count for count in counts.values() if count])


def sized_task(task: TaskSpec, found: Surveyed, *, resize: bool) -> TaskSpec:
    """`task` with explicit held-out sizes where no split is given, and with a limit on what a sample costs.

    Args:
        resize: whether images may get another size than each checkpoint's own, which not every one takes.
    """
    num_test, num_val = task.num_test, task.num_val
    left = pool_size(found)
    least = len(found.class_counts) if found.kind == "classification" else 1  # every class is in every split
    if "test" not in found.split_counts:
        num_test = num_test or max(round(left * _HELD_OUT_FRAC), least)
        left -= num_test
    if "val" not in found.split_counts:
        num_val = num_val or max(round(left * _HELD_OUT_FRAC), least)
    return _limited(replace(task, num_test=num_test, num_val=num_val), found, resize=resize)


def _limited(task: TaskSpec, found: Surveyed, *, resize: bool) -> TaskSpec:
    sides = [found.sizes[name].median for name in ("width", "height") if name in found.sizes]
    if task.modality == "image" and task.image_size is None and resize and sides and max(sides) <= _SIDES[-1]:
        # Pixels of 8 x 8 images are worth more than one step of the first convolution.
        wanted = min(max(sides), 16) * 2 if max(sides) < _SIDES[0] else max(sides)
        return replace(task, image_size=next(side for side in _SIDES if side >= wanted))
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
    lines += _sizes(found)
    if task.label_columns:
        lines.append(f"columns     {_columns(found, task)}")
    if found.class_counts:
        lines.append(f"{'labels' if found.kind == 'multilabel' else 'classes':<12}{_classes(found)}")
    lines.append(f"splits      {_splits(found, task)}")
    lines.append(f"metric      {_metric(found)}")
    if len(found.rates) > 1:
        rates = ", ".join(f"{rate} Hz ({count:,})" for rate, count in sorted(found.rates.items()))
        lines.append(f"rates       {rates}: all are resampled")
    if found.num_duplicates:
        across = ", ".join(f"{count:,} of {pair.replace('/', ' in ')}" for pair, count in _swapped(found))
        lines.append(f"duplicates  {found.num_duplicates:,} equal an earlier sample{f'; {across}' if across else ''}")
    if found.num_contradicting:
        lines.append(f"labels      {found.num_contradicting:,} samples equal one with another label")
    if found.unreadable:
        lines.append(f"unreadable  {len(found.unreadable):,}, which are left out:")
        lines += [f"              {name}: {reason}" for name, reason in found.unreadable[:_BAD]]
        if len(found.unreadable) > _BAD:
            lines.append(f"              and {len(found.unreadable) - _BAD:,} more")
    if found.dates and "test" not in found.split_counts:
        lines.append(
            f"note        {found.dates[0]!r} holds dates: samples are drawn at random, not the newest ones to test on; "
            "for that, add a column that says train, val or test"
        )
    lines += [f"note        {note}" for note in found.notes]
    return lines


def _swapped(found: Surveyed) -> list[tuple[str, int]]:
    """``test/train``: samples of test that are in train."""
    return [("/".join(reversed(pair.split("/"))), count) for pair, count in found.duplicates_across.items()]


def _columns(found: Surveyed, task: TaskSpec) -> str:
    others = f" (or {', '.join(found.other_labels)}: --label-column)" if found.other_labels else ""
    noun = "labels" if len(task.label_columns) > 1 else "label"
    parts = [f"{' and '.join(task.input_columns)} as input, {_few(task.label_columns)} as {noun}{others}"]
    if task.group_column is not None:
        parts.append(f"{found.num_groups:,} groups by {task.group_column}, none of them parted between splits")
    if task.split_column is not None:
        parts.append(f"{task.split_column} says which split")
    return "; ".join(parts)


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 4 else ", ".join(names)


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
    drawn = f"{' and '.join(made)} drawn at random{', stratified' * bool(found.class_counts)}" if made else ""
    return "; ".join(
        part for part in (f"given: {given}" if len(found.split_counts) > 1 else "none given", drawn) if part
    )


def _metric(found: Surveyed) -> str:
    if found.kind == "regression":
        return "R², and the mean absolute error beside it"
    if found.kind == "multilabel":
        return "macro F1"
    return "macro F1, since accuracy would overlook small classes" if is_unbalanced(found) else "accuracy"


def _sizes(found: Surveyed) -> list[str]:
    sizes = dict(found.sizes)
    lines = []
    if "width" in sizes and "height" in sizes:
        wide, high = sizes.pop("width"), sizes.pop("height")
        some = [f"{getattr(wide, name):g} x {getattr(high, name):g}" for name in ("least", "most", "median")]
        same = len(set(some)) == 1
        lines.append(f"size        {some[0] if same else '{} to {}, median {}'.format(*some)} pixels")
    for name, size in sizes.items():
        topic, unit = {"words": ("length", " words"), "duration_s": ("length", " s")}.get(name, (name, ""))
        least, most, median = map(_number, (size.least, size.most, size.median))
        text = least if size.least == size.most else f"{least} to {most}, median {median}"
        lines.append(f"{topic:<11} {text}{unit}")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
