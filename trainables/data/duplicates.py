"""What a person is told of samples that are exactly equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trainables.data.sources.contract import PARTS, Source

__all__ = ["contradictions", "copies", "said_of_duplicates"]

_NAMED: Final = 3
_Rows = npt.NDArray[np.int64]


def said_of_duplicates(
    source: Source, fingerprints: npt.NDArray[np.uint64], parts: tuple[_Rows, _Rows, _Rows]
) -> list[str]:
    """Notes on duplicates and groups across the splits that are used, and on duplicates that contradict
    each other.

    Args:
        source: its names, targets and groups.
        fingerprints: equal for exact duplicates, shape (n,).
        parts: rows of train, val and test.
    """
    said = []
    for here, there in ((0, 1), (0, 2), (1, 2)):
        shared = copies(fingerprints, parts[here], parts[there])
        if len(shared):
            said.append(
                f"{len(shared):,} of {len(parts[there]):,} samples of {PARTS[there]} are exact duplicates of samples "
                f"of {PARTS[here]}: {_some_names(source, shared)}"
            )
        if source.groups is not None:
            both = np.intersect1d(source.groups[parts[here]], source.groups[parts[there]])
            if len(both):
                said.append(f"{len(both):,} groups have samples in both {PARTS[here]} and {PARTS[there]}")
    against = contradictions(source.targets, fingerprints, np.concatenate(parts))
    if len(against):
        said.append(
            f"{len(against):,} samples are exact duplicates that differ in what they are labelled: "
            f"{_some_names(source, against)}"
        )
    return said


def copies(fingerprints: npt.NDArray[np.uint64], here: _Rows, there: _Rows) -> _Rows:
    """Rows of `there` that equal one of `here`."""
    return there[np.isin(fingerprints[there], fingerprints[here])]


def contradictions(targets: npt.NDArray[Any], fingerprints: npt.NDArray[np.uint64], rows: _Rows) -> _Rows:
    """Those of `rows` that equal another one with another target, duplicates side by side."""
    by_content = rows[np.lexsort((rows, fingerprints[rows]))]
    _, start, count = np.unique(fingerprints[by_content], return_index=True, return_counts=True)
    found: list[Any] = []
    for first, many in zip(start[count > 1], count[count > 1], strict=True):
        equal = by_content[first : first + many]
        if (targets[equal] != targets[equal[0]]).any():
            found.extend(equal)
    return np.array(found, dtype=np.int64)


def _some_names(source: Source, rows: Sequence[int] | _Rows) -> str:
    more = ", ..." if len(rows) > _NAMED else ""
    return ", ".join(source.names[row] for row in rows[:_NAMED]) + more
