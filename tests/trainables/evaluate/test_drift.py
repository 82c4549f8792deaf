"""Feature drift: the index by its definition, and what is compared with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from torch import Tensor

from trainables.evaluate import Evaluation, Subject, drift
from trainables.evaluate.chosen import chosen
from trainables.evaluate.drift import linear_cka
from trainables.pooling import pooled

Floats = npt.NDArray[np.float64]


def by_kernels(x: Floats, y: Floats) -> float:
    """The definition over centred kernels, with HSIC."""
    centring = np.eye(len(x)) - 1 / len(x)

    def hsic(k: Floats, m: Floats) -> float:
        return float(np.trace(k @ centring @ m @ centring))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


class TestLinearCka:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10**6), st.integers(3, 30), st.integers(1, 12), st.integers(1, 12))
    def test_it_is_the_definition_whichever_side_is_shorter(self, seed: int, num: int, width: int, other: int) -> None:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(num, width)) + 5
        y = x[:, :1] + rng.normal(size=(num, other))
        assert linear_cka(x, y) == pytest.approx(by_kernels(x, y))
        assert linear_cka(y, x) == pytest.approx(linear_cka(x, y))

    @pytest.mark.parametrize("num", [6, 200])
    def test_neither_rotation_nor_scale_nor_shift_is_drift(self, num: int) -> None:
        x = np.random.default_rng(0).normal(size=(num, 10)) * np.arange(1, 11)
        rotation = ortho_group.rvs(10, random_state=0)
        assert linear_cka(x, 3 * x @ rotation - 7) == pytest.approx(1)
        assert linear_cka(x, x) == pytest.approx(1, rel=1e-12)
        assert linear_cka(x, x * np.arange(10, 0, -1)) < 0.95  # a stretch is

    def test_independent_features_have_almost_none_in_common(self) -> None:
        x, y = np.random.default_rng(0).normal(size=(2, 5000, 8))
        assert linear_cka(x, y) < 0.01

    def test_of_features_that_are_all_the_same_it_is_not_a_number(self) -> None:
        assert np.isnan(linear_cka(np.full((5, 3), 0.1), np.eye(5)))


class TestPooled:
    def test_padding_has_no_influence(self) -> None:
        hidden = torch.rand(2, 4, 3)
        mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
        found = pooled((hidden, mask))
        assert torch.allclose(found[0], hidden[0, :2].mean(dim=0))
        assert torch.allclose(found[1], hidden[1].mean(dim=0))
        assert torch.equal(found[0], pooled((hidden[:1, :2], mask[:1, :2]))[0])

    @pytest.mark.parametrize(
        ("shape", "axes"),
        [((2, 5, 4, 4), (2, 3)), ((2, 4, 4, 5), (1, 2)), ((2, 7, 5), (1,)), ((2, 3, 4, 2, 5), (1, 2, 3))],
    )
    def test_maps_and_tokens_are_averaged_over_places(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
        state = torch.rand(shape)
        assert pooled(state).shape == (2, 5)
        assert torch.allclose(pooled(state), state.mean(dim=axes))

    def test_branches_stand_in_a_row(self) -> None:
        maps = torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)
        assert torch.allclose(pooled(maps), torch.cat([m.mean(dim=(2, 3)) for m in maps], dim=1))

    def test_a_vector_is_copied(self) -> None:
        vector = torch.ones(2, 3)
        found = pooled(vector)
        vector.zero_()
        assert found.eq(1).all()


def similarities(subject: Subject, num: int = 256) -> list[float]:
    found = drift(subject, Evaluation(num_drifted=num)).measures
    assert [(m.name, m.condition) for m in found] == [("cka", f"block:{i}") for i in range(subject.tuned.num_blocks)]
    return [m.value for m in found]


class TestSubject:
    def test_frozen_leading_blocks_have_exactly_1_and_tuned_ones_less(self, tuned: Subject) -> None:
        found = similarities(tuned)
        assert found[:4] == [1.0] * 4
        assert all(0 < value < 1 for value in found[4:])

    def test_it_compares_the_features_of_both_networks(self, tuned: Subject) -> None:
        """Sample by sample, by hand, behind blocks of every kind of shape."""
        samples, _ = tuned.task.test.batch(torch.arange(len(tuned.task.test)))
        assert isinstance(samples, Tensor)
        found = similarities(tuned)
        with torch.no_grad():
            prepared = tuned.prepared(samples)
            for block in (4, 8, 13):
                maps = [network.features(prepared, stop=block + 1) for network in (tuned.pretrained, tuned.tuned)]
                before, after = (m.flatten(2).mean(dim=2).numpy() if m.ndim == 4 else m.numpy() for m in maps)
                assert found[block] == pytest.approx(linear_cka(before, after), rel=1e-4)

    def test_where_nothing_is_tuned_nothing_is_computed(
        self, subject_of: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subject = subject_of(freeze_depth=14)
        monkeypatch.setattr(subject, "encoded", None)
        assert similarities(subject) == [1.0] * 14

    def test_blocks_that_did_not_move_are_alike_and_those_behind_a_window_are_measured(
        self, subject_of: Callable[..., Subject]
    ) -> None:
        assert similarities(subject_of(freeze_depth=12, learning_rate=0.0))[12] > 0.999  # norms' statistics move
        found = similarities(subject_of(tune_window=(10, 11), learning_rate=0.05))
        assert found[:10] == [1.0] * 10
        assert all(value < 1 for value in found[10:])

    def test_no_more_samples_are_compared_than_asked_for(self, tuned: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        encoded = tuned.encoded
        monkeypatch.setattr(
            tuned, "encoded", lambda split, rows: seen.extend(split.rows[rows].tolist()) or encoded(split, rows)
        )
        similarities(tuned, num=7)
        assert sorted(seen) == sorted(chosen(tuned.task.test, 7).rows.tolist())
        seen.clear()
        assert drift(tuned, replace(Evaluation(), num_drifted=0)).measures == ()
        assert seen == []
