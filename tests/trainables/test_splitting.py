"""Batches in parts give what they give whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.errors import OutOfMemory
from trainables.splitting import InParts, joined, split


class TestInParts:
    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 20), st.integers(1, 20), st.booleans())
    def test_split_and_joined(self, num: int, size: int, is_tuple: bool) -> None:
        x, mask = torch.randn(num, 3), torch.ones(1, 2).expand(num, 2)
        state = (x, mask) if is_tuple else x
        parts = split(state, size)
        sizes = [len(part[0] if isinstance(part, tuple) else part) for part in parts]
        assert max(sizes) <= size
        assert max(sizes) - min(sizes) <= 1
        again = joined(parts)
        assert torch.equal(again[0] if isinstance(again, tuple) else again, x)
        assert not isinstance(again, tuple) or torch.equal(again[1], mask)

    def test_halves_until_it_fits_and_stays_there(self) -> None:
        sizes: list[int] = []

        def double(state: Any) -> Tensor:
            sizes.append(len(state))
            if len(state) > 3:
                raise torch.OutOfMemoryError("no room")
            return torch.relu_(state)  # in place: what is given must stay as it is

        in_parts, x = InParts(torch.device("cpu")), torch.linspace(-1, 1, 10)
        for _ in range(2):
            assert torch.equal(in_parts(double, x), x.clamp(min=0))
        assert sizes == [10, 5, 3, 3, 2, 2, 3, 3, 2, 2]

    def test_one_sample_must_fit(self) -> None:
        def fail(_: Any) -> Tensor:
            raise torch.OutOfMemoryError("no room")

        with pytest.raises(OutOfMemory, match="one sample in evaluation"):
            InParts(torch.device("cpu"))(fail, torch.zeros(9))
