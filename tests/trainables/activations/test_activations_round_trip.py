"""What is read is what was computed: dtype, shape, order in memory and every bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_chain import cached, computed, files, opened, over, same, warned
from torch import Tensor

from trainables.activations import forget
from trainables.preprocessing import State

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]
NUMBERS = itertools.count()


def content(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    """Any bits that are no NaN of its own kind: zeros of both signs, infinities and subnormals among them."""
    generator = torch.Generator().manual_seed(seed)
    if not dtype.is_floating_point:
        return torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=generator).to(dtype)
    values = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    special = torch.tensor([0.0, -0.0, float("inf"), 1e-40], dtype=torch.float64).to(dtype)
    where = torch.rand(shape, generator=generator) < 0.2
    return torch.where(where, special[torch.randint(0, 4, shape, generator=generator)], values)


@st.composite
def parts(draw: st.DrawFn, num: int) -> Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    sizes = (num, *draw(st.lists(st.integers(1, 5), max_size=4)))
    order = draw(st.permutations(range(len(sizes))))
    memory = content(dtype, tuple(sizes[dim] for dim in order), draw(st.integers(0, 99)))
    return memory.permute(torch.tensor(order).argsort().tolist())


def batches_of(num: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, num - 1), min_size=2, max_size=9)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_parts_come_back(data: st.DataObject, cache: Path) -> None:
    num = data.draw(st.integers(2, 12))
    is_tuple = data.draw(st.booleans())
    samples = [data.draw(parts(num)) for _ in range(data.draw(st.integers(1, 3)) if is_tuple else 1)]

    def inputs(positions: Tensor) -> State:
        # In the order in memory that the whole has, as a layer gives any batch.
        taken = []
        for whole in samples:
            order = sorted(range(whole.ndim), key=lambda dim: -whole.stride(dim))
            memory = whole[positions].permute(order).contiguous()
            taken.append(memory.permute(torch.tensor(order).argsort().tolist()))
        return tuple(taken) if is_tuple else taken[0]

    order = torch.tensor(data.draw(st.permutations(range(num))))
    batches = list(torch.split(order, data.draw(st.integers(1, num))))
    chain = over(inputs, lambda state, start, stop: state, num=num, batches=batches, name=f"{next(NUMBERS)}-")
    activations = cached(chain)
    forget()
    read_again = cached(chain)
    for rows in data.draw(st.lists(batches_of(num), min_size=1, max_size=3)):
        positions = torch.tensor(rows)
        expected = computed(chain, 1, positions)
        assert same(activations.batch(positions), expected)
        assert same(read_again.batch(positions), expected)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_sequences_come_back_without_their_padding(data: st.DataObject, cache: Path) -> None:
    num = data.draw(st.integers(2, 12))
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, 9), min_size=num, max_size=num)))
    shapes = data.draw(st.lists(st.lists(st.integers(1, 4), max_size=2), min_size=1, max_size=2))
    sequences = [content(data.draw(st.sampled_from(DTYPES)), (num, 9, *shape), 0) for shape in shapes]
    table = torch.rand(3, 4)
    rows = torch.rand(num, 3)
    is_time_last = data.draw(st.booleans())

    def inputs(positions: Tensor) -> State:
        longest = int(lengths[positions].max())
        mask = (torch.arange(longest) < lengths[positions][:, None]).to(torch.int64)
        cut = []
        for whole in sequences:
            part = whole[positions, :longest].clone()
            part[mask == 0] = 0
            cut.append(part.transpose(1, 2).contiguous().transpose(1, 2) if is_time_last and part.ndim == 3 else part)
        return (*cut, mask, table.expand(len(positions), 3, 4), rows[positions])

    by_length = list(torch.split(lengths.argsort(stable=True), data.draw(st.integers(1, num))))
    chain = over(inputs, lambda state, start, stop: state, num=num, batches=by_length, name=f"{next(NUMBERS)}-")
    activations = cached(chain)
    for wanted in data.draw(
        st.lists(st.lists(st.integers(0, num - 1), min_size=2, max_size=9), min_size=1, max_size=3)
    ):
        positions = torch.tensor(wanted)
        got, expected = activations.batch(positions), computed(chain, 1, positions)
        assert len(got) == len(expected)
        for part, wanted_part in zip(got, expected, strict=True):
            assert part.dtype == wanted_part.dtype
            assert torch.equal(part, wanted_part)


def test_sequences_take_no_room_for_padding(cache: Path) -> None:
    lengths = torch.tensor([1] * 99 + [1000])
    batches = list(torch.split(torch.arange(100), 50))

    def inputs(positions: Tensor) -> State:
        longest = int(lengths[positions].max())
        mask = (torch.arange(longest) < lengths[positions][:, None]).to(torch.int64)
        return mask.float()[..., None].expand(-1, -1, 16).contiguous(), mask

    activations = cached(over(inputs, lambda state, start, stop: state, num=100, batches=batches))
    assert 1099 * 64 < activations.num_bytes < 1099 * 64 + 10_000
    hidden, mask = activations.batch(torch.tensor([99, 0]))
    assert hidden.shape == (2, 1000, 16)
    assert mask.sum(dim=1).tolist() == [1000, 1]
    assert activations.batch(torch.tensor([0, 1]))[0].shape == (2, 1, 16)


def test_a_constant_is_stored_once_and_expanded(cache: Path) -> None:
    table = torch.randn(50, 100)
    samples = torch.randn(40, 3)
    chain = over(
        lambda positions: (samples[positions], table.expand(len(positions), 50, 100)), lambda s, i, j: s, num=40
    )
    activations = cached(chain)
    assert activations.num_bytes < 3 * table.nbytes  # Arrow has its header twice
    got = activations.batch(torch.tensor([3, 1, 2]))
    assert same(got, computed(chain, 1, torch.tensor([3, 1, 2])))
    assert got[1].stride() == (0, 100, 1)


@pytest.mark.parametrize(("dtype", "kept"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_rounding_halves_the_file_and_is_given_back_in_the_dtype_computed(
    dtype: Any, kept: torch.dtype, cache: Path
) -> None:
    samples, numbers = torch.randn(40, 3, 8, 8).contiguous(memory_format=torch.channels_last), torch.arange(40)
    chain = over(lambda positions: (samples[positions], numbers[positions]), lambda s, i, j: s, num=40)
    exact, rounded = cached(chain), cached(chain, dtype=dtype)
    assert len(files(cache)) == 2
    assert exact.num_bytes - rounded.num_bytes == pytest.approx(samples.nbytes / 2, abs=200)
    got, integers = rounded.batch(torch.arange(7))
    assert got.dtype == torch.float32
    assert got.stride() == samples[:7].stride()
    assert torch.equal(got, samples[:7].to(kept).float())
    assert torch.equal(integers, numbers[:7])


def test_numbers_too_large_for_fp16_are_not_stored_in_it(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = torch.full((40, 3), 1e5)
    chain = over(lambda positions: samples[positions], lambda s, i, j: s, num=40)
    assert opened(chain, dtype="fp16") is None
    assert "part 0 has numbers too large for torch.float16" in caplog.text
    assert len(warned(caplog)) == 1
    assert torch.equal(cached(chain, dtype="bf16").batch(torch.arange(2)), samples[:2].bfloat16().float())


def test_the_file_is_one_that_arrow_reads(cache: Path) -> None:
    samples = torch.randn(25, 6)
    cached(over(lambda positions: samples[positions], lambda s, i, j: s, num=25))
    (path,) = files(cache)
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    table.validate(full=True)
    assert table.column("position").to_pylist() == list(range(25))
    assert b"".join(table.column("part0").to_pylist()) == samples.numpy().tobytes()


def test_what_is_read_may_be_changed_and_trained_on(cache: Path) -> None:
    samples = torch.randn(25, 6)
    chain = over(lambda positions: samples[positions], lambda s, i, j: s, num=25)
    with torch.inference_mode():
        activations = cached(chain)  # first asked for in an evaluation
    read = activations.batch(torch.arange(4))
    assert isinstance(read, Tensor)
    weight = torch.nn.Parameter(torch.ones(6))
    (torch.nn.functional.relu_(read.mul_(2)) * weight).sum().backward()
    read.add_(weight)
    assert torch.equal(activations.batch(torch.arange(4)), samples[:4])
