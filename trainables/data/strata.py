"""Draws that keep proportions: of classes, of labels, of the ranges of a number; whole groups; nested sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from trainables.config import Kind

__all__ = ["Indices", "Marks", "Strata", "draw", "draw_wanted", "nested", "nested_with_all", "strata_of"]

Indices: TypeAlias = npt.NDArray[np.int64]
Marks: TypeAlias = npt.NDArray[np.bool_]

_MAX_BINS: Final = 10
_ROWS_PER_BIN: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Strata:
    """What is kept in proportion."""

    one: Indices
    """The stratum of each row, shape (n,): its class, its rarest label, or the range of its number."""

    several: Marks | None = None
    """Which strata each row is in, shape (n, strata), where it can be in several: labels, or the range of
    each of several numbers. None where `one` says all."""

    @property
    def count(self) -> int:
        """How many strata there are."""
        return int(self.one.max()) + 1 if self.several is None else self.several.shape[1]

    def members(self, rows: Indices) -> tuple[Indices, Indices]:
        """Position in `rows` and number of the stratum, once for each stratum that a row is in."""
        if self.several is None:
            return np.arange(len(rows)), self.one[rows]
        position, stratum = np.nonzero(self.several[rows])
        return position.astype(np.int64), stratum.astype(np.int64)


def strata_of(kind: Kind, targets: npt.NDArray[Any]) -> Strata:
    """Strata of targets as `Source` has them."""
    if kind == "classification":
        return Strata(one=targets)
    if kind == "multilabel":
        marks = targets > 0
        return Strata(one=_rarest(marks), several=marks)
    ranges = [_ranges(target) for target in targets.T]
    if len(ranges) == 1:
        return Strata(one=ranges[0])
    marks = np.concatenate([r[:, None] == np.arange(r.max() + 1) for r in ranges], axis=1)
    return Strata(one=ranges[0], several=marks)


def _ranges(numbers: npt.NDArray[Any]) -> Indices:
    """Number of the quantile range of each, at most 10 and at least 20 rows each."""
    count = int(np.clip(len(numbers) // _ROWS_PER_BIN, 1, _MAX_BINS))
    edges = np.unique(np.quantile(numbers, np.arange(1, count) / count)) if count > 1 else np.empty(0)
    found = np.searchsorted(edges, numbers, side="left")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _rarest(marks: Marks) -> Indices:
    """The rarest label of each row; one more for rows without any."""
    counts = marks.sum(axis=0)
    rare_first = np.argsort(counts, kind="stable")
    rarest = rare_first[marks[:, rare_first].argmax(axis=1)]
    return np.asarray(np.where(marks.any(axis=1), rarest, marks.shape[1]), dtype=np.int64)


def draw(rng: np.random.Generator, strata: Strata, rows: Indices, num: int) -> Indices:
    """`num` of `rows`, each stratum in its proportion: to within one sample where a row is in one stratum."""
    if strata.several is not None:
        marks = strata.several[rows]
        return rows[_draw_marked(rng, marks, num, marks.sum(axis=0) * (num / len(rows)))]
    classes, counts = np.unique(strata.one[rows], return_counts=True)
    return _draw_each(rng, strata.one, rows, classes, _shares(counts, num))


def draw_wanted(
    rng: np.random.Generator, strata: Strata, rows: Indices, num: int, wanted: npt.NDArray[np.float64]
) -> Indices:
    """`num` of `rows`, each stratum as near as can be to the count that is wanted of it, shape (strata,)."""
    if not num:
        return rows[:0]
    if strata.several is not None:
        return rows[_draw_marked(rng, strata.several[rows], num, wanted.copy())]
    classes, counts = np.unique(strata.one[rows], return_counts=True)
    share = np.clip(np.floor(wanted[classes] + 0.5).astype(np.int64), 0, counts)
    if share.sum() > num:
        share = _shares(share, num)
    elif share.sum() < num:
        share += _shares(counts - share, num - int(share.sum()))
    return _draw_each(rng, strata.one, rows, classes, share)


def _draw_each(rng: np.random.Generator, one: Indices, rows: Indices, classes: Indices, share: Indices) -> Indices:
    return np.concatenate([rng.permutation(rows[one[rows] == c])[:n] for c, n in zip(classes, share, strict=True)])


def _shares(counts: Indices, num: int) -> Indices:
    """`num` shared out in proportion to `counts`, by largest remainder."""
    exact = counts * (num / counts.sum())
    share = np.floor(exact).astype(np.int64)
    remainder_first = np.argsort(-(exact - share), kind="stable")
    share[remainder_first[: num - share.sum()]] += 1
    return np.asarray(share)


def _draw_marked(rng: np.random.Generator, marks: Marks, num: int, wanted: npt.NDArray[np.float64]) -> Marks:
    """Iterative stratification (Sechidis et al. 2011): the rarest label first, since it is the one that
    cannot be made up for later; each row goes where more of its label is still wanted. Shape (n,)."""
    order = rng.permutation(len(marks))
    taken = np.zeros(len(marks), dtype=np.bool_)
    undecided = np.ones(len(marks), dtype=np.bool_)
    left = marks.sum(axis=0).astype(np.int64)
    unwanted = left - wanted
    room, other_room = num, len(marks) - num
    while (left > 0).any():
        label = int(np.argmin(np.where(left > 0, left, len(marks) + 1)))
        for row in order[undecided[order] & marks[order, label]]:
            mine = marks[row]
            take = bool(wanted[label] > unwanted[label]) if room and other_room else room > 0
            (wanted if take else unwanted)[mine] -= 1
            room, other_room = room - take, other_room - (not take)
            taken[row], undecided[row] = take, False
            left[mine] -= 1
    taken[order[undecided[order]][:room]] = True
    return taken


def nested(rng: np.random.Generator, strata: Strata, rows: Indices, num: int) -> Indices:
    """`num` of `rows` so that, with equal generators, fewer are a part of more.

    The quota method (Balinski and Young 1975): of all ways to share out seats it is the one that takes
    none back as they grow in number and keeps each stratum within one of its exact share.
    """
    classes, codes = np.unique(strata.one[rows], return_inverse=True)
    counts = np.bincount(codes).astype(np.int64)
    queues = [rng.permutation(rows[codes == number]) for number in range(len(classes))]
    seats = np.zeros(len(classes), dtype=np.int64)
    for seated in range(1, num + 1):
        # In whole numbers, which every platform compares alike: seats + 1 < share + 1.
        eligible = seats * len(rows) < seated * counts
        best = np.argmax(np.where(eligible, counts / (seats + 1), -1.0))
        seats[best] += 1
    return np.concatenate([queue[:count] for queue, count in zip(queues, seats, strict=True)])


def nested_with_all(rng: np.random.Generator, strata: Strata, rows: Indices, num: int) -> Indices:
    """As `nested`, but every stratum that has a row keeps one: more than `num` rows where that takes more."""
    position, stratum = strata.members(rows)
    first: list[int] = []
    seen: set[int] = set()
    members: dict[int, set[int]] = {}
    for place, number in zip(position.tolist(), stratum.tolist(), strict=True):
        members.setdefault(place, set()).add(number)
    for place in rng.permutation(len(rows)).tolist():
        if not seen.issuperset(members.get(place, ())):
            first.append(place)
            seen |= members[place]
    rest = np.setdiff1d(np.arange(len(rows)), first)
    more = nested(rng, strata, rows[rest], num - len(first)) if num > len(first) else rest[:0]
    return np.concatenate([rows[np.array(first, dtype=np.int64)], more])
