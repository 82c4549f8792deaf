"""Every sample is in exactly one batch of an epoch, and samples of similar length keep together."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.batches import batch_sizes, epoch_batches, eval_batches
from trainables.data import Split


@dataclass(frozen=True)
class Lengths:
    """Samples of which only the length is known."""

    lengths: Tensor | None

    def batch(self, rows: Tensor) -> Tensor:
        return rows

    def __len__(self) -> int:
        raise NotImplementedError


def split(lengths: list[int] | None, num: int) -> Split:
    """Rows in reverse, so that a row and its position differ."""
    known = None if lengths is None else torch.tensor(lengths)
    return Split(samples=Lengths(known), rows=torch.arange(num).flip(0), targets=torch.zeros(num))


@given(st.integers(1, 300), st.integers(1, 40))
def test_sizes_add_up_and_no_single_sample_is_left_over(num: int, size: int) -> None:
    sizes = batch_sizes(num, size)
    assert sum(sizes) == num
    assert max(sizes) <= size + 1
    assert size == 1 or num == 1 or min(sizes) > 1


@given(st.lists(st.integers(1, 99), min_size=1, max_size=200), st.integers(1, 20), st.booleans())
def test_an_epoch_holds_every_position_once(lengths: list[int], size: int, known: bool) -> None:
    here = split(lengths if known else None, len(lengths))
    torch.manual_seed(0)
    batches = epoch_batches(here, size)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
    assert sorted(map(len, batches)) == sorted(batch_sizes(len(lengths), size))
    assert sorted(torch.cat(eval_batches(here, size)).tolist()) == list(range(len(lengths)))


def padding(lengths: Tensor, batches: list[Tensor]) -> float:
    """Share of a batch's tokens that is padding, over all batches."""
    full = sum(int(lengths[b].max()) * len(b) for b in batches)
    return 1 - int(lengths.sum()) / full


def test_batches_of_similar_lengths_hold_less_padding() -> None:
    lengths = torch.randint(1, 100, (3000,), generator=torch.Generator().manual_seed(0))
    here = split(lengths.tolist(), 3000)
    torch.manual_seed(0)
    ours, plain = epoch_batches(here, 16), list(torch.split(torch.randperm(3000), 16))
    assert here.lengths is not None
    assert padding(here.lengths, ours) < 0.1 < 0.4 < padding(here.lengths, plain)
    assert padding(here.lengths, eval_batches(here)) < 0.1


def test_their_order_is_random_and_not_that_of_the_lengths() -> None:
    lengths = list(range(1, 501))
    torch.manual_seed(0)
    first, second = (epoch_batches(split(lengths, 500), 10) for _ in range(2))
    assert [b.tolist() for b in first] != [b.tolist() for b in second]
    longest = torch.tensor([500 - int(b.min()) for b in first])
    ranks = torch.corrcoef(torch.stack([longest.float(), torch.arange(50.0)]))[0, 1]
    assert abs(ranks) < 0.5


def test_equal_lengths_are_not_sorted() -> None:
    torch.manual_seed(0)
    expected = torch.randperm(30)
    torch.manual_seed(0)
    assert torch.equal(torch.cat(epoch_batches(split(None, 30), 8)), expected)
    assert torch.equal(torch.cat(eval_batches(split(None, 30), 8)), torch.arange(30))


@pytest.mark.parametrize("size", [3, 8])
def test_positions_refer_to_the_split_and_not_to_the_dataset(size: int) -> None:
    here = split([5, 1, 9, 3], 4)
    shortest = eval_batches(here, size)[0][0]
    assert here.lengths is not None
    assert here.lengths[shortest] == 1
    assert here.rows[shortest] == 1
