"""Sequences of differing lengths come out of one flat array as they went in, filled on the right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.ragged import Ragged

sequences = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9), min_size=1, max_size=12)


def ragged(lists: list[list[int]], width: int | None = None) -> Ragged:
    """By way of Arrow, as a file has them."""
    offsets = pa.array(np.cumsum([0, *map(len, lists)]), pa.int64())
    values = pa.array([number for numbers in lists for number in numbers], pa.int32())
    if width is not None:
        values = pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(values.to_numpy(), width), pa.int32()), width)
    return Ragged.from_arrow(pa.LargeListArray.from_arrays(offsets, values))


@settings(deadline=None)
@given(sequences, st.data())
def test_any_rows_in_any_order(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), min_size=1, max_size=9))
    held, index = ragged(lists), np.array(rows)
    longest = max(len(lists[row]) for row in rows)
    assert held.padded(index, np.int64, fill=-7).tolist() == [
        lists[row] + [-7] * (longest - len(lists[row])) for row in rows
    ]
    assert held.mask(index).tolist() == [[1] * len(lists[row]) + [0] * (longest - len(lists[row])) for row in rows]
    assert held.lengths.tolist() == list(map(len, lists))
    assert len(held) == len(lists)


@settings(deadline=None)
@given(sequences, st.integers(1, 4))
def test_rows_of_numbers(lists: list[list[int]], width: int) -> None:
    everything = np.arange(len(lists))
    wide = ragged(lists, width).padded(everything, np.int64)
    narrow = ragged(lists).padded(everything, np.int64)
    assert wide.shape == (*narrow.shape, width)
    assert (wide == narrow[..., None]).all()


@pytest.mark.parametrize("width", [None, 3])
def test_what_a_batch_holds_is_its_own(width: int | None, tmp_path: Path) -> None:
    held = ragged([[1, 2], [3]], width)
    assert not held.values.flags.writeable
    held.padded(np.array([0]), np.int32)[:] = 9  # a copy: the mapping is as it was
    assert set(held.values.ravel().tolist()) == {1, 2, 3}
