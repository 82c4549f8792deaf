"""Which columns of a table are the input, the label, the split and the group."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainables.config import Kind, TaskSpec
from trainables.data.sources.contract import PART_OF, listed
from trainables.data.sources.reading import modality_of, modality_of_bytes
from trainables.data.sources.table import Table
from trainables.errors import DataError, did_you_mean
from trainables.modality import Modality

__all__ = [
    "LABEL_NAMES",
    "MEDIA_NAMES",
    "PAIR_NAMES",
    "ROW_NUMBERS",
    "TEXT_NAMES",
    "Columns",
    "find_columns",
    "is_blank",
    "part_of",
    "require_columns",
]

TEXT_NAMES: Final = (
    "text", "sentence", "review", "content", "body", "comment", "tweet", "message", "document", "question", "title",
)  # fmt: skip
PAIR_NAMES: Final = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "sentence"), ("question", "passage"),
    ("question", "answer"), ("question1", "question2"), ("text1", "text2"), ("text_a", "text_b"),
)  # fmt: skip
MEDIA_NAMES: Final = (
    "image", "img", "image_path", "audio", "audio_path", "path", "file_path", "filepath", "file", "filename",
    "file_name",
)  # fmt: skip
LABEL_NAMES: Final = ("label", "labels", "target", "targets", "class", "category", "sentiment", "score")
ROW_NUMBERS: Final = ("", "id", "idx", "index", "unnamed: 0", "row", "__index_level_0__")
_BINARY: Final = frozenset({"0", "1", "0.0", "1.0", "true", "false"})
_LOOKED_AT: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What was given or found out."""

    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    modality: Modality
    split: str | None
    group: str | None


def find_columns(spec: TaskSpec, table: Table, kind: Kind | None = None) -> Columns:
    """The columns of `table` that `spec` names, or, where it does not, those of well-known names.

    Args:
        spec: its ``*_columns``, ``*_column`` and `modality`.
        table: the one that holds the training samples.
        kind: that of the spec, or None where it is to be found out: then labels of every kind are looked for.

    Raises:
        DataError: a named column is missing, or none can be told to be the input or the label.
    """
    named = [*spec.input_columns, *spec.label_columns, spec.split_column, spec.group_column]
    require_columns(table, [name for name in named if name is not None])
    split = spec.split_column or _split_column(table, spec)
    taken = {*spec.input_columns, *spec.label_columns, split, spec.group_column}
    free = [column for column in table.columns if column not in taken and column.lower() not in ROW_NUMBERS]
    known = [column for column in free if column.lower() in LABEL_NAMES]
    inputs = spec.input_columns or _input_columns(
        table, [c for c in free if c not in known] if not spec.label_columns else free, spec.modality
    )
    labels = spec.label_columns or _label_columns(table, [c for c in free if c not in inputs], kind)
    both = sorted(set(inputs) & set(labels))
    if both:
        raise DataError(f"{table.place}: {both[0]!r} is both input and label; name another column for one of them")
    modality = spec.modality or _modality(table, inputs, found_out=not spec.input_columns)
    if modality != "text" and len(inputs) > 1:
        raise DataError(f"two input columns are a pair of texts; {', '.join(inputs)} hold {modality} data: name one")
    return Columns(inputs=inputs, labels=labels, modality=modality, split=split, group=spec.group_column)


def require_columns(table: Table, names: Iterable[str]) -> None:
    """
    Raises:
        DataError: `table` lacks one of them.
    """
    missing = [f"{name!r}{did_you_mean(name, table.columns)}" for name in names if name not in table.columns]
    if missing:
        raise DataError(f"{table.place} has no column {', no column '.join(missing)}; it has {_known(table)}")


def _known(table: Table) -> str:
    return ", ".join(repr(column) for column in table.columns)


def _split_column(table: Table, spec: TaskSpec) -> str | None:
    """A column called ``split`` whose every value names one, and not always the same."""
    column = next((c for c in table.columns if c.lower() == "split"), None)
    if column is None or column in (*spec.input_columns, *spec.label_columns, spec.group_column):
        return None
    parts = {part_of(value) for value in table.values(column)}
    return column if None not in parts and 0 in parts and len(parts) > 1 else None


def part_of(value: Any) -> int | None:
    """Number of the split that a cell names, or None."""
    name = str(value).strip().lower()
    return PART_OF.get({"training": "train", "testing": "test"}.get(name, name))


def _input_columns(table: Table, free: Sequence[str], modality: Modality | None) -> tuple[str, ...]:
    by_name = {column.lower(): column for column in free}
    media = [by_name[name] for name in MEDIA_NAMES if name in by_name]
    media += [column for column in free if column in table.types and column not in media]
    pairs = [(by_name[a], by_name[b]) for a, b in PAIR_NAMES if a in by_name and b in by_name]
    texts = [*pairs, *((by_name[name],) for name in TEXT_NAMES if name in by_name)]
    if modality != "text" and media and texts and modality is None:
        raise DataError(
            f"{table.place}: the input may be {media[0]!r} or {', '.join(map(repr, texts[0]))}; set input_columns"
        )
    if modality != "text" and media:
        return (media[0],)
    if modality in ("text", None) and texts:
        return texts[0]
    if len(free) == 1 or (len(free) == 2 and len(table.columns) == 2):
        # The only column left; of two unknown ones the first is the input as people write them.
        return (free[0],)
    names = "text, sentence, review, content, sentence1 and sentence2, image, path, file, audio"
    raise DataError(
        f"{table.place}: no column is known to be the input (such as {names}); set input_columns "
        f"to one of {_known(table)}"
    )


def _label_columns(table: Table, free: Sequence[str], kind: Kind | None) -> tuple[str, ...]:
    by_name = {column.lower(): column for column in free}
    found = next((by_name[name] for name in LABEL_NAMES if name in by_name), None)
    if found is not None:
        return (found,)
    if kind in ("multilabel", None):
        binary = tuple(column for column in free if _is_binary(table.values(column)))
        if len(binary) > 1:
            return binary
    if len(free) == 1:
        return (free[0],)
    near = next((hint for name in LABEL_NAMES if (hint := did_you_mean(name, free))), "")
    raise DataError(
        f"{table.place}: no column is known to be the label (such as {', '.join(LABEL_NAMES)}){near}; set "
        f"label_columns to one of {_known(table)}"
    )


def _is_binary(values: Sequence[Any]) -> bool:
    return all(str(value).strip().lower() in _BINARY for value in values)


def _modality(table: Table, inputs: Sequence[str], *, found_out: bool) -> Modality:
    """What the first values of the input are: files by suffix, or the bytes of files, else texts."""
    if inputs[0] in table.types:
        return "audio" if table.types[inputs[0]] == "Audio" else "image"
    cell = table.cell(inputs[0])
    values = [value for row in range(min(_LOOKED_AT, table.num_rows)) if not is_blank(value := cell(row))]
    counts = Counter(_modality_of_value(value) for value in values)
    # A few that are no files among many that are: reading them says so, by row.
    modality: Modality = counts.most_common(1)[0][0] if counts else "text"
    if modality == "text" and found_out and inputs[0].lower() in MEDIA_NAMES:
        odd = [repr(value)[:60] for value in values if _modality_of_value(value) == "text"]
        raise DataError(
            f"{table.place}: column {inputs[0]!r} must hold paths of images or sounds, or their bytes; set modality, "
            f"or input_columns to another one. It holds:{listed(odd)}"
        )
    return modality


def _modality_of_value(value: Any) -> Modality:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path") or ""
    if isinstance(value, bytes):
        return modality_of_bytes(value)
    name = str(value)
    # A sentence may end in the name of a file; a path of one has a suffix and no line break.
    found = modality_of(name) if len(name) < 1000 and not re.search(r"[\r\n]", name) else None
    return "text" if found is None else found


def is_blank(value: Any) -> bool:
    """Whether a cell says nothing: missing, blank text, or not a number."""
    if value is None or (isinstance(value, float) and value != value):
        return True
    return isinstance(value, str) and not value.strip()
