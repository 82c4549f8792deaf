"""A cache is written where it pays, by what was measured, and read where it is faster than computing."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_chain import computed, doubling, files, opened, over, same
from torch import Tensor

from trainables.activations import Chain, forget
from trainables.activations.cost import ASSUMED, MARGIN, Speeds, pays, pays_opening, read_seconds, worth_caching
from trainables.activations.speed import measured_speeds, page_cache_bytes
from trainables.preprocessing import State

SECONDS = st.floats(1e-6, 1e6)


@given(forward_s=SECONDS, read_s=SECONDS, write_s=SECONDS, num_passes=st.floats(0, 1e6))
def test_what_pays_is_faster_with_a_margin(forward_s: float, read_s: float, write_s: float, num_passes: float) -> None:
    if pays(forward_s=forward_s, read_s=read_s, write_s=write_s, num_passes=num_passes):
        with_cache = forward_s + write_s + num_passes * read_s
        assert with_cache < num_passes * forward_s
        assert MARGIN * read_s < forward_s
        assert num_passes > 1
        assert pays_opening(forward_s=forward_s, read_s=read_s, check_s=0, num_passes=num_passes)


def test_one_pass_never_pays_and_many_do_where_reading_is_cheaper() -> None:
    assert not pays(forward_s=100, read_s=0, write_s=0, num_passes=1)
    assert pays(forward_s=100, read_s=1, write_s=1, num_passes=2)
    assert not pays(forward_s=1, read_s=1, write_s=0, num_passes=math.inf)


def test_what_memory_cannot_keep_costs_the_disk() -> None:
    speeds = Speeds(read=10, write=10, disk=1, check=10)
    assert read_seconds(100, speeds, page_cache_bytes=100) == 10
    assert read_seconds(101, speeds, page_cache_bytes=100) == pytest.approx(111.1)
    wanted = {"forward_s": 50, "num_bytes": 101, "num_passes": 10, "speeds": speeds}
    assert worth_caching(**wanted)
    assert not worth_caching(**wanted, page_cache_bytes=100)


def test_the_rule_needs_no_torch() -> None:
    script = "import sys, trainables.activations.cost; print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_speeds_are_those_of_a_computer(cache: Path) -> None:
    for row_bytes in (1, 2000, 1 << 20, 1 << 40):
        speeds = measured_speeds(row_bytes, torch.device("cpu"))
        assert all(1e5 < speed < 1e12 for speed in (speeds.read, speeds.write, speeds.disk, speeds.check))
    assert not list(cache.iterdir()), "what was measured on is gone"
    assert page_cache_bytes() > 1e6
    assert all(speed > 0 for speed in (ASSUMED.read, ASSUMED.write, ASSUMED.disk, ASSUMED.check))


def slow(state: State, start: int, stop: int) -> State:
    assert isinstance(state, Tensor)
    time.sleep(0.002 * len(state))
    return state + 1


def free_of_charge(name: str = "a") -> Chain:
    """Blocks that do nothing at all to samples that are all alike and large."""
    samples = torch.randn(1, 100_000).repeat(40, 1)
    return over(lambda positions: samples[: len(positions)], lambda s, i, j: s, num=40, name=name)


def test_slow_blocks_are_cached_and_fast_ones_are_not(cache: Path) -> None:
    fast, few = free_of_charge(), torch.randn(40, 10)
    assert opened(fast, mode="auto") is None
    assert not files(cache)
    dear = over(lambda positions: few[positions], slow, num=40, name="b")
    assert opened(dear, mode="auto", num_passes=1) is None
    assert not files(cache)
    activations = opened(dear, mode="auto", num_passes=100)
    assert activations is not None
    assert same(activations.batch(torch.arange(9)), few[:9] + 1)
    assert opened(fast, mode="always") is not None


def test_a_file_that_is_there_is_read_where_that_is_faster(cache: Path) -> None:
    few = torch.randn(40, 10)
    fast, dear = free_of_charge(), over(lambda positions: few[positions], slow, num=40, name="b")
    for chain in (fast, dear):
        opened(chain, mode="always")
    forget()
    assert opened(dear, mode="auto", num_passes=1) is not None
    # Whoever made it had to be told to.
    assert opened(fast, mode="auto", num_passes=1000) is None


def test_off_and_nothing_frozen_touch_nothing(cache: Path) -> None:
    chain, ran = doubling()
    assert opened(chain, 3, mode="off") is None
    assert opened(chain, 0, mode="always") is None
    assert opened(over(lambda p: p, lambda s, i, j: s, num=0, batches=[])) is None
    assert not cache.exists()
    assert not ran


def test_what_was_measured_is_not_measured_again(cache: Path) -> None:
    samples = torch.randn(1, 100_000).repeat(40, 1)
    runs = []

    def run(state: State, start: int, stop: int) -> State:
        runs.append(start)
        return state

    chain = over(lambda positions: samples[: len(positions)], run, num=40)
    assert opened(chain, mode="auto", num_passes=2) is None
    seen = len(runs)
    assert seen > 0
    assert opened(chain, mode="auto", num_passes=3) is None
    assert len(runs) == seen


def test_a_deeper_boundary_is_computed_from_the_nearest_shallower_one(cache: Path) -> None:
    chain, ran = doubling()
    everything = torch.arange(24)
    expected = computed(chain, 3, everything)
    for depth in (1, 2, 3):
        forget()
        ran.clear()
        activations = opened(chain, depth)
        assert activations is not None
        if depth == 3:
            assert same(activations.batch(everything), expected)
        # Of the runs of single samples none is stored: the last three are the pass.
        assert ran[-3:] == [(depth - 1, depth)] * 3


def test_a_rounded_boundary_is_never_computed_from_another(cache: Path) -> None:
    chain, ran = doubling()
    for depth in (1, 2):
        assert opened(chain, depth, dtype="bf16") is not None
        assert ran[-3:] == [(0, depth)] * 3
