"""Somebody's data, opened with what nobody said about them found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from trainables.config import TaskSpec
from trainables.data.beside import Located
from trainables.data.roles import Roles, find_roles
from trainables.data.source import Source, is_tabular, open_source, read_parts
from trainables.data.sources.tabular import open_tables
from trainables.data.split import split_indices
from trainables.errors import DataError

__all__ = ["Opened", "nothing_readable", "open_described"]

_HELD_OUT_FRAC: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """Samples, and how they were taken to be described."""

    spec: TaskSpec
    source: Source
    other_labels: tuple[str, ...] = ()
    """Columns that might as well be the label, the likeliest first."""

    dates: tuple[str, ...] = ()
    """Columns of dates that are neither input nor label."""

    notes: tuple[str, ...] = ()
    """What could not be used, and why."""


def open_described(place: Located, fields: Mapping[str, Any]) -> Opened:
    """The data at a place, as `fields` of `TaskSpec` describe them.

    Raises:
        DataError: they cannot be opened, with what lies beside them or without.
        MissingExtra: an optional dependency reads them.
        InvalidConfig: one of the fields is wrong.
    """
    beside = {key: there for key in ("val_data", "test_data") if (there := getattr(place, key)) is not None}
    spec = TaskSpec(**{**fields, "data": place.data})
    if not is_tabular(spec.data):
        return Opened(spec=spec, source=open_source(spec))
    try:
        return _table(replace(spec, **beside), guess_kind_too="kind" not in fields)
    except DataError as error:
        if not beside:
            raise
        alone = _table(spec, guess_kind_too="kind" not in fields)
        reason = str(error).partition("\n")[0]
        return replace(alone, notes=(*alone.notes, f"{' and '.join(beside.values())} cannot be used: {reason}"))


def _table(spec: TaskSpec, *, guess_kind_too: bool) -> Opened:
    parts, notes = read_parts(spec)
    table = next((table for part, table in parts if part == 0), None)
    # Without one, opening says what is missing.
    roles = Roles(spec=spec) if table is None else find_roles(spec, table, guess_kind_too=guess_kind_too)
    source = open_tables(roles.spec, parts, notes)
    found = Opened(
        spec=roles.spec, source=source, other_labels=roles.other_labels, dates=roles.dates, notes=roles.notes
    )
    if not roles.guessed_group:
        return found
    if (problem := _group_problem(roles.spec, source)) is None:
        return found
    alone = open_tables(replace(roles.spec, group_column=None), parts, notes)
    said = f"column {roles.spec.group_column!r} looks like groups, but {problem}: its rows may part between splits"
    return replace(found, spec=replace(roles.spec, group_column=None), source=alone, notes=(*roles.notes, said))


def _group_problem(spec: TaskSpec, source: Source) -> str | None:
    """Why splits that part no group cannot be made; None where they can."""
    every = np.arange(len(source.names))
    try:
        made = split_indices(spec, source, np.ones(len(every), dtype=np.bool_), every.astype(np.uint64))
    except DataError as error:
        return str(error).partition(";")[0]
    asked = round(_HELD_OUT_FRAC * len(every))
    if source.given_split is None and not 0.5 * asked <= len(made.test) <= 2 * asked:
        return f"with whole groups the test split would have {len(made.test):,} samples in place of {asked:,}"
    return None


def nothing_readable(spec: TaskSpec, source: Source, unreadable: Sequence[tuple[str, str]]) -> str:
    """What to say where every sample is unreadable: most often paths are relative to another folder."""
    name, reason = unreadable[0]
    said = f"{spec.data}: none of {len(unreadable):,} samples can be read; the first, {name}: {reason}"
    if source.modality == "text" or not source.input_columns:
        return said
    folder = Path(spec.data) if Path(spec.data).is_dir() else Path(spec.data).parent
    inside = next((path for path in folder.rglob("*") if path.is_file() and path.name and path.name in reason), None)
    column = source.input_columns[0]
    where = f"column {column!r} must hold paths relative to {folder}"
    return f"{said}; {where}" + (f", such as {inside.relative_to(folder)}" if inside else "")
