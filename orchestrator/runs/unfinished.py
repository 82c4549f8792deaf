"""The runs that a sweep's tables say were begun and have not ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from orchestrator.folder import SweepFolder

__all__ = ["Unfinished", "unfinished"]

_Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """What is on disk of one of them."""

    attempts: list[Mapping[str, Any]] = field(default_factory=list)
    """Rows of `ATTEMPTS`, at least one."""

    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    """Rows of `EPOCHS`, in their order."""


def unfinished(folder: SweepFolder) -> dict[_Key, Unfinished]:
    """By study and number. While a driver lives these are the runs under way."""
    ended = set(_keys(folder.trials.read()))
    attempts = folder.attempts.read()
    open_runs = {key for key in _keys(attempts) if key not in ended}
    if not open_runs:
        return {}
    found: defaultdict[_Key, Unfinished] = defaultdict(Unfinished)
    for key, row in _rows(attempts, open_runs):
        found[key].attempts.append(row)
    for key, row in _rows(folder.epochs.read(), open_runs):
        found[key].epochs.append(row)
    return dict(found)


def _keys(table: pa.Table) -> list[_Key]:
    return list(zip(table["study"].to_pylist(), table["number"].to_pylist(), strict=True))


def _rows(table: pa.Table, wanted: Container[_Key]) -> list[tuple[_Key, dict[str, Any]]]:
    places = [place for place, key in enumerate(_keys(table)) if key in wanted]
    rows: list[dict[str, Any]] = table.take(pa.array(places, pa.int64())).to_pylist()
    return [((row["study"], row["number"]), row) for row in rows]
