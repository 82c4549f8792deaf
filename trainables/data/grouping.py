"""Rows that must stay together, by group or as exact duplicates, and draws of whole bundles of them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trainables.data.strata import Indices, Marks, Strata, draw_wanted

__all__ = ["draw_whole", "together"]

_TRIED: Final = 200
"""Bundles that are looked at for one move; the best by size come first."""


def together(groups: Indices | None, fingerprints: npt.NDArray[np.uint64]) -> Indices:
    """Number of the bundle of each row, shape (n,): rows of one group, or equal to each other, or linked by
    such rows, are one bundle."""
    same = np.unique(fingerprints, return_inverse=True)[1].astype(np.int64)
    if groups is None or not len(groups):
        return same
    group = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    size = int(group.max()) + 1
    # Groups and contents are the nodes, every row is an edge between its two.
    nodes = size + int(same.max()) + 1
    edges = coo_array((np.ones(len(group)), (group, size + same)), shape=(nodes, nodes))
    components = connected_components(edges, directed=False)[1]
    return np.asarray(components[group], dtype=np.int64)


def draw_whole(rng: np.random.Generator, strata: Strata, rows: Indices, bundles: Indices, num: int) -> Indices:
    """About `num` of `rows` in whole bundles, each stratum near its proportion, and none of it on one side
    only if it comes in two bundles.

    Args:
        rng: decides among equals.
        strata: of all rows.
        rows: to draw from.
        bundles: of all rows, shape (n,).
        num: of the rows drawn, met as nearly as a greedy choice comes: exactly where enough rows are in a
            bundle of their own.
    """
    order = rng.permutation(rows)
    _, first, codes, sizes = np.unique(bundles[order], return_index=True, return_inverse=True, return_counts=True)
    draft = _Draft(strata, order, codes, sizes, num)
    several = np.flatnonzero(sizes > 1)
    # The largest first, while there is room for them on both sides; equals in the order of the shuffle.
    for bundle in several[np.lexsort((first[several], -sizes[several]))]:
        draft.place(int(bundle))
    alone = sizes[codes] == 1
    room = int(np.clip(num - draft.num_taken, 0, alone.sum()))
    chosen = draw_wanted(rng, strata, order[alone], room, draft.wanted)
    draft.take(codes[np.isin(order, chosen)])
    draft.cover()
    draft.come_nearer()
    return order[draft.taken[codes]]


class _Draft:
    """Which bundles are taken so far.

    Attributes:
        taken: of each bundle.
        num_taken: rows in them.
        wanted: rows of each stratum that are still to be taken, as a fraction of a row where need be.
    """

    def __init__(self, strata: Strata, order: Indices, codes: Indices, sizes: Indices, num: int) -> None:
        self._num, self._sizes, self._codes = num, sizes, codes
        self.taken: Marks = np.zeros(len(sizes), dtype=np.bool_)
        # Every pair of a bundle and a stratum that has rows in it, with their count.
        row, stratum = strata.members(order)
        pairs, self._pair_rows = np.unique(codes[row] * strata.count + stratum, return_counts=True)
        self._pair_bundle, self._pair_stratum = np.divmod(pairs, strata.count)
        self._starts = np.searchsorted(self._pair_bundle, np.arange(len(sizes) + 1))
        self._totals = np.bincount(stratum, minlength=strata.count).astype(np.float64)
        self.wanted = self._totals * (num / len(order))
        self._unwanted = self._totals - self.wanted
        self._placed = 0
        self.num_taken = 0

    def place(self, bundle: int) -> None:
        """Where its strata are wanted the more, measured by what each side wanted at first."""
        size, room = int(self._sizes[bundle]), self._num - self.num_taken
        other_room = len(self._codes) - self._num - (self._placed - self.num_taken)
        if size > room or size > other_room:
            take = room - size > other_room - size
        else:
            take = self._want(bundle, self.wanted, self._num) > self._want(
                bundle, self._unwanted, len(self._codes) - self._num
            )
        self._placed += size
        if take:
            self.take(np.array([bundle]))
        pairs = slice(self._starts[bundle], self._starts[bundle + 1])
        (self.wanted if take else self._unwanted)[self._pair_stratum[pairs]] -= self._pair_rows[pairs]

    def take(self, bundles: Indices) -> None:
        self.taken[bundles] = True
        self.num_taken += int(self._sizes[bundles].sum())

    def _move(self, bundle: int) -> None:
        """To the other side."""
        self.num_taken += int(self._sizes[bundle]) * (-1 if self.taken[bundle] else 1)
        self.taken[bundle] = not self.taken[bundle]

    def _want(self, bundle: int, wanted: npt.NDArray[np.float64], num: int) -> float:
        # Summed in order: another order of additions would be another split on another machine.
        total = 0.0
        for pair in range(self._starts[bundle], self._starts[bundle + 1]):
            stratum = self._pair_stratum[pair]
            total += self._pair_rows[pair] * wanted[stratum] / (self._totals[stratum] * num)
        return total

    def cover(self) -> None:
        """Give a side that lacks a stratum the smallest bundle with it that the other side can spare."""
        num = np.bincount(self._pair_stratum)
        num_taken = np.bincount(self._pair_stratum[self.taken[self._pair_bundle]], minlength=len(num))
        for stratum in np.flatnonzero((num > 1) & ((num_taken == 0) | (num_taken == num))):
            holders = self._pair_bundle[self._pair_stratum == stratum]
            sides = self.taken[holders]
            if sides.all() or not sides.any():  # still: another stratum's bundle may have brought it along
                self._move(int(holders[np.argmin(self._sizes[holders])]))

    def come_nearer(self) -> None:
        """Move bundles one by one while that brings the number taken nearer to the one asked for."""
        while lack := self._num - self.num_taken:
            movable = np.flatnonzero((self.taken == (lack < 0)) & (self._sizes < 2 * abs(lack)))
            nearest = movable[np.argsort(abs(self._sizes[movable] - abs(lack)), kind="stable")[:_TRIED]]
            bundle = next((int(bundle) for bundle in nearest if self._can_spare(int(bundle))), None)
            if bundle is None:
                return
            self._move(bundle)

    def _can_spare(self, bundle: int) -> bool:
        """Whether its side keeps rows of each of its strata without it."""
        same_side = self.taken == self.taken[bundle]
        if same_side.sum() < 2:
            return False
        for stratum in self._pair_stratum[self._starts[bundle] : self._starts[bundle + 1]]:
            holders = self._pair_bundle[self._pair_stratum == stratum]
            if same_side[holders].sum() < 2:
                return False
        return True
