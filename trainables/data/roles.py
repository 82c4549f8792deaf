"""Which column of somebody's table is the input, the label, the split and the group.

`find_columns` knows well-known names, and refuses where it does not know. Here somebody asked what the data are: where
names say nothing, values do, and what was guessed is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from trainables.config import Kind, TaskSpec
from trainables.data.profile import Column, profiles
from trainables.data.sources.columns import (
    LABEL_NAMES,
    MEDIA_NAMES,
    PAIR_NAMES,
    ROW_NUMBERS,
    TEXT_NAMES,
    is_blank,
    require_columns,
)
from trainables.data.sources.table import Table
from trainables.data.sources.targets import guess_kind
from trainables.errors import DataError

__all__ = ["Roles", "find_roles"]

_LABEL_WORDS: Final = frozenset(
    {
        *LABEL_NAMES, "stars", "rating", "ratings", "grade", "diagnosis", "outcome", "species", "breed", "emotion",
        "intent", "topic", "genre", "mood", "tag", "tags", "categories", "classes", "spam", "toxic", "polarity", "y",
        "price", "result", "type", "severity", "quality", "disease", "digit", "word", "language", "accent",
    }
)  # fmt: skip
_GROUP_WORDS: Final = frozenset(
    {
        "customer", "user", "username", "patient", "subject", "speaker", "author", "reviewer", "participant", "person",
        "client", "session", "conversation", "dialogue", "dialog", "thread", "case", "animal", "donor", "household",
        "group", "plate", "slide", "scene", "recording", "document", "visitor", "account", "student", "worker", "rater",
        "writer", "owner", "device", "camera", "product", "family", "cow", "bird", "dog", "individual", "episode",
    }
)  # fmt: skip
_ID_WORDS: Final = frozenset({"id", "ids", "uid", "uuid", "guid", "number", "no", "nr", "key", "hash", "code"})
_TEXT_WORDS: Final = frozenset(TEXT_NAMES) - {"title", "question"} | {"texts", "abstract", "description", "utterance"}
"""Of the names of columns that hold the text itself, rather than what stands over it."""

_HEADINGS: Final = frozenset({"title", "subject", "headline", "heading", "summary"})
_TIME_WORDS: Final = frozenset({"date", "time", "timestamp", "datetime", "year", "month", "day", "created", "updated"})
_MANY: Final = 50
_FEW: Final = 20
_REPEATED: Final = 0.98
"""Of the rows: with more different values than that, a column groups nothing."""

_LARGEST_GROUP: Final = 0.5
_FEWEST_GROUPS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """What each column is for."""

    spec: TaskSpec
    """With the columns filled in."""

    other_labels: tuple[str, ...] = ()
    """Columns that might as well be the label, the likeliest first."""

    dates: tuple[str, ...] = ()
    """Columns of dates."""

    guessed_group: bool = False
    """Whether the group is of our choosing."""

    notes: tuple[str, ...] = ()
    """What a person may want otherwise."""


def find_roles(spec: TaskSpec, table: Table, *, guess_kind_too: bool) -> Roles:
    """The columns of `table` that `spec` does not name, by their names, else by their values.

    Args:
        spec: what it names is kept.
        table: the one that holds the training samples.
        guess_kind_too: whether the kind of `spec` is to follow from the labels.

    Raises:
        DataError: a named column is missing, or no column can be the input, or none the label.
    """
    named = {*spec.input_columns, *spec.label_columns, *(c for c in (spec.split_column, spec.group_column) if c)}
    require_columns(table, sorted(named))
    columns = profiles(table)
    split = spec.split_column or next((c.name for c in columns if c.is_split and c.name not in named), None)
    free = [
        column
        for column in columns
        if column.name not in named and column.name != split and column.name.lower() not in ROW_NUMBERS
    ]
    inputs = spec.input_columns or _inputs(spec, table, free)
    free = [column for column in free if column.name not in inputs]
    labels, others = (spec.label_columns, ()) if spec.label_columns else _labels(table, free, spec, guess_kind_too)
    free = [column for column in free if column.name not in labels]
    group = spec.group_column or _group(free)
    kind, said = _kind(table, labels) if guess_kind_too else (spec.kind, None)
    return Roles(
        spec=replace(
            spec, input_columns=inputs, label_columns=labels, split_column=split, group_column=group, kind=kind
        ),
        other_labels=tuple(name for name in others if name != group),
        dates=tuple(column.name for column in free if column.is_date),
        guessed_group=group is not None and spec.group_column is None,
        notes=() if said is None else (said,),
    )


def _inputs(spec: TaskSpec, table: Table, free: Sequence[Column]) -> tuple[str, ...]:
    by_name = {column.name.lower(): column.name for column in free}
    files = [column for column in free if column.is_file]
    texts = [column for column in free if column.mean_words and column.num_distinct > 1]
    if spec.modality in (None, "image", "audio") and files:
        return (min(files, key=lambda column: _place(column.name.lower(), MEDIA_NAMES)).name,)
    for first, second in PAIR_NAMES:
        if first in by_name and second in by_name:
            return by_name[first], by_name[second]
    # Longer than a name or a label, or at least different in most rows.
    likely = [
        column
        for column in texts
        if column.mean_words >= 3
        or column.name.lower() in TEXT_NAMES
        or (column.num_distinct > 0.5 * column.num_filled and not _is_id(column))
    ]
    if not likely:
        raise DataError(
            f"{table.place}: no column looks like texts, or like paths of images or sounds; name the input "
            f"(--input-column, or input_columns in a sweep file); {_listed(free)}"
        )
    main = max(likely, key=lambda column: (bool(column.words & _TEXT_WORDS), column.mean_words))
    heading = next((c for c in texts if c is not main and c.words & _HEADINGS and not c.words & _GROUP_IDS), None)
    return (main.name,) if heading is None else (heading.name, main.name)


def _labels(
    table: Table, free: Sequence[Column], spec: TaskSpec, guess: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The label, or several, and what else might be it."""
    marks = [column for column in free if column.is_binary]
    known = next((c.name for name in LABEL_NAMES for c in free if c.name.lower() == name), None)
    named = any(column.words & _LABEL_WORDS for column in marks)
    several = len(marks) > 1 and (spec.kind == "multilabel" or not named or len(marks) > 2)
    if known is None and several and (guess or spec.kind == "multilabel"):
        return tuple(column.name for column in marks), ()
    scored = sorted(
        ((_score(column, is_last=column is free[-1]), column.name) for column in free if _can_be_label(column)),
        key=lambda pair: -pair[0],
    )
    if known is None and not scored:
        raise DataError(
            f"{table.place}: no column looks like labels, which repeat, or like numbers to predict; name it "
            f"(--label-column, or label_columns in a sweep file); {_listed(free)}"
        )
    chosen = known or scored[0][1]
    least = 0.0 if known is None else 3.0
    return (chosen,), tuple(name for score, name in scored if name != chosen and score >= least)[:3]


def _can_be_label(column: Column) -> bool:
    if column.is_file or column.is_date or column.num_distinct < 2 or column.words & _TIME_WORDS:
        return False
    if column.is_list or column.is_number:
        return True
    most = min(max(_MANY, 0.2 * column.num_filled), 0.5 * column.num_filled)
    return column.num_distinct <= most or bool(column.words & _LABEL_WORDS)


def _score(column: Column, *, is_last: bool) -> float:
    """How much like a label it looks; what identifies something looks least like one."""
    score = 4.0 * (column.name.lower() in LABEL_NAMES) + 3.0 * bool(column.words & _LABEL_WORDS)
    score += 1.0 * (column.num_distinct <= 20) + 0.5 * is_last + 0.5 * (not column.is_number)
    score -= 3.0 * bool(column.words & (_GROUP_WORDS | _ID_WORDS) and not column.words & _LABEL_WORDS)
    return score - 0.5 * (column.num_filled < column.num_rows)


def _group(free: Sequence[Column]) -> str | None:
    """Somebody or something that several rows come from."""
    fit = [
        column
        for column in free
        if not column.is_date
        and not column.is_file
        and _FEWEST_GROUPS <= column.num_distinct <= _REPEATED * column.num_filled
        and column.largest <= _LARGEST_GROUP * column.num_rows
        and (column.words & _GROUP_WORDS or _is_id(column))
    ]
    # An unnamed id may be of anything: a word that says whose it is goes first.
    return max(fit, key=lambda column: (bool(column.words & _GROUP_WORDS), column.num_distinct)).name if fit else None


def _is_id(column: Column) -> bool:
    return bool(column.words & _ID_WORDS) or any(word.endswith("nummer") for word in column.words)


_GROUP_IDS: Final = _ID_WORDS | {"speaker", "patient"}
"""A subject with one of these is a person, no heading."""


def _kind(table: Table, labels: Sequence[str]) -> tuple[Kind, str | None]:
    """And what a person may want otherwise."""
    values = [table.values(column) for column in labels]
    kind = guess_kind(values)
    if kind != "classification" or len(values) > 1:
        return kind, None
    numbers = _whole_numbers(values[0])
    # Classes are numbered from 0 or 1 without gaps; amounts are not, and have many values.
    is_numbered = bool(numbers) and min(numbers) in (0, 1) and max(numbers) - min(numbers) == len(numbers) - 1
    if len(numbers) <= _FEW or is_numbered:
        return kind, None
    if len(numbers) > 0.5 * len(values[0]):
        return "regression", None
    said = (
        f"{labels[0]!r} holds {len(numbers):,} different numbers, taken for amounts; --kind classification: for classes"
    )
    return "regression", said


def _whole_numbers(values: Iterable[Any]) -> set[int]:
    """Different ones of a column; empty where any is something else."""
    try:
        return {int(number) for value in values if not is_blank(value) for number in [float(value)]}
    except (TypeError, ValueError, OverflowError):
        return set()


def _place(name: str, known: Sequence[str]) -> int:
    return known.index(name) if name in known else len(known)


def _listed(columns: Sequence[Column]) -> str:
    return f"there are {', '.join(repr(c.name) for c in columns)}" if columns else "there is no other column"
