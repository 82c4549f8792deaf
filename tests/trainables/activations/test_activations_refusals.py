"""What cannot be stored sample by sample is refused with a reason and computed every time: never wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_chain import files, opened, over, warned
from torch import Tensor

from trainables.preprocessing import State

LENGTHS = torch.tensor([2, 3, 3, 5, 6, 6, 7, 9])
VALUES = torch.randn(8, 9, 4)
BY_LENGTH = list(torch.split(torch.arange(8), 3))


def padded(positions: Tensor) -> tuple[Tensor, Tensor]:
    longest = int(LENGTHS[positions].max())
    mask = (torch.arange(longest) < LENGTHS[positions][:, None]).to(torch.int64)
    return VALUES[positions, :longest] * mask[..., None], mask


def pairs(state: tuple[Tensor, Tensor]) -> State:
    hidden, mask = state
    return hidden @ hidden.transpose(1, 2), mask


def no_mask(state: tuple[Tensor, Tensor]) -> State:
    return state[0]


def mask_of_ones(state: tuple[Tensor, Tensor]) -> State:
    return state[0], torch.ones_like(state[1])


def mean_over_padding(state: tuple[Tensor, Tensor]) -> State:
    return state[0].mean(dim=1)


def mixed_over_padding(state: tuple[Tensor, Tensor]) -> State:
    return state[0] + state[0].mean(dim=1, keepdim=True), state[1]


def table_by_length(state: tuple[Tensor, Tensor]) -> State:
    return (*state, torch.arange(state[1].shape[1]).expand(len(state[1]), -1))


def over_the_batch(state: tuple[Tensor, Tensor]) -> State:
    return state[0] + state[0].amax(dim=0, keepdim=True), state[1]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (pairs, "elsewhere than in its second dimension"),
        (no_mask, "no mask among its parts says how long each sample is"),
        (mask_of_ones, "no mask among its parts says how long each sample is"),
        (mean_over_padding, "part 0 of a sample depends on the other samples of its batch"),
        (mixed_over_padding, "part 0 of a sample depends on the other samples of its batch"),
        (over_the_batch, "part 0 of a sample depends on the other samples of its batch"),
    ],
)
def test_what_depends_on_the_batch_is_refused(
    block: Callable[[State], State], reason: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain = over(padded, lambda state, start, stop: block(state), num=8, batches=BY_LENGTH)
    assert opened(chain) is None
    assert opened(chain) is None
    (line,) = warned(caplog)
    assert reason in line
    assert "is computed every time" in line
    assert not files(cache)


def test_what_only_other_batches_show_is_refused_while_it_is_written(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(state: State, start: int, stop: int) -> State:
        assert isinstance(state, Tensor)
        return state[:, :2] if 5 in state[:, 0] else state

    samples = torch.arange(16.0).view(8, 2).repeat(1, 2)
    samples[4, 0] = 5
    chain = over(lambda positions: samples[positions], run, num=8, batches=BY_LENGTH)
    assert opened(chain) is None
    assert "in one batch, and torch.float32 of shape (4,) in another" in caplog.text
    assert not files(cache)
    assert not list(cache.rglob("*.writing"))


def test_batches_that_are_not_the_whole_split_are_refused(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = torch.randn(8, 2)
    twice = [torch.tensor([0, 1, 2, 3]), torch.tensor([3, 4, 5, 6])]
    assert opened(over(lambda positions: samples[positions], lambda s, i, j: s, num=8, batches=twice)) is None
    assert "not every sample of the split once" in caplog.text
    assert not files(cache)


def test_positions_that_depend_on_the_length_travel_as_tokens_do(cache: Path) -> None:
    chain = over(padded, lambda state, start, stop: table_by_length(state), num=8, batches=BY_LENGTH)
    activations = opened(chain)
    assert activations is not None
    numbers = activations.batch(torch.tensor([0, 4]))[2]
    assert numbers.tolist() == [[0, 1, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5]]
