"""Training-free scores against the formulas they stand for, computed in another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from other_kinds import bits, with_targets
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from trainables.backbones import Backbone
from trainables.data import Task
from trainables.execution import Execution
from trainables.freezing import module_digest
from trainables.screen import ScreenScore, screen
from trainables.screen.features import MAX_SAMPLES, screen_features
from trainables.screen.h_score import h_score
from trainables.screen.leep import leep
from trainables.screen.log_me import log_me
from trainables.screen.neighbours import NUM_NEIGHBOURS, TEMPERATURE, neighbour_means

Floats = npt.NDArray[np.float64]
CPU = torch.device("cpu")


def classes(num: int, width: int, seed: int = 0, spread: float = 1.0) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Features of three classes around centres `spread` apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    labels[:3] = range(3)
    return rng.normal(size=(num, width)) + spread * rng.normal(size=(3, width))[labels], labels


def largest_evidence(features: Floats, target: Floats) -> float:
    """The largest density of the target over both precisions, by a general optimiser."""

    def surprise(logs: Floats) -> float:
        covariance = np.eye(len(target)) * np.exp(-logs[1]) + features @ features.T * np.exp(-logs[0])
        return -float(multivariate_normal.logpdf(target, cov=covariance))

    found = minimize(surprise, np.array([1.0, 1.0]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10})
    return -found.fun / len(target)


class TestLogMe:
    @pytest.mark.parametrize(("num", "width"), [(40, 5), (12, 20)])
    def test_it_is_the_largest_evidence(self, num: int, width: int) -> None:
        features, labels = classes(num, width)
        values = np.eye(3)[labels]
        expected = [largest_evidence(features, column) for column in values.T]
        assert log_me(features, values) == pytest.approx(np.mean(expected), rel=1e-4)

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6), st.floats(0.01, 100))
    def test_neither_rotation_nor_scale_nor_useless_directions_count(self, seed: int, scale: float) -> None:
        features, labels = classes(30, 6, seed)
        values = np.eye(3)[labels]
        turned = scale * features @ ortho_group.rvs(6, random_state=seed % 1000)
        expected = log_me(features, values)
        assert log_me(turned, values) == pytest.approx(expected, abs=1e-4)
        assert log_me(np.hstack([features, np.zeros((30, 2))]), values) == pytest.approx(expected, abs=1e-4)

    def test_more_telling_features_score_higher(self) -> None:
        scores = [log_me(f, np.eye(3)[labels]) for f, labels in (classes(200, 10, 0, s) for s in (0.0, 0.5, 3.0))]
        assert scores == sorted(scores)
        assert scores[2] > scores[0] + 0.3

    def test_it_is_finite_where_features_explain_all_or_nothing(self) -> None:
        features = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 4)))[0]
        everything, nothing = features[:, :1] * 3, np.linalg.qr(np.hstack([features, np.ones((20, 1))]))[0][:, 4:]
        assert np.isfinite(log_me(features, everything))
        assert np.isfinite(log_me(features, nothing))
        assert log_me(features, everything) > log_me(features, nothing) + 1

    def test_features_that_are_all_0_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must not all be 0"):
            log_me(np.zeros((5, 2)), np.eye(5))


class TestLeep:
    def test_by_hand(self) -> None:
        """Two source classes, whose probabilities sum to 1.7 and 1.3 over the samples."""
        share = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
        labels = np.array([0, 0, 1])
        first, second = 1.5 / 1.7, 0.5 / 1.3  # of label 0, given each source class
        expected = [0.9 * first + 0.1 * second, 0.6 * first + 0.4 * second, 0.2 * (1 - first) + 0.8 * (1 - second)]
        assert leep(share, labels) == pytest.approx(np.mean(np.log(expected)))

    def test_a_head_that_knows_the_labels_scores_0_and_one_that_knows_nothing_their_entropy(self) -> None:
        labels = np.array([0, 0, 0, 1])
        assert leep(np.eye(3)[[2, 2, 2, 0]], labels) == 0
        assert leep(np.full((4, 3), 1 / 3), labels) == pytest.approx(0.75 * np.log(0.75) + 0.25 * np.log(0.25))

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6))
    def test_it_does_not_depend_on_what_classes_are_called(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        share, labels = rng.dirichlet(np.ones(4), size=20), rng.integers(0, 3, 20)
        assert leep(share[:, ::-1], 7 - labels) == pytest.approx(leep(share, labels))
        assert leep(share, labels) <= 0


class TestHScore:
    @pytest.mark.parametrize(("num", "width"), [(60, 4), (20, 30)])
    def test_it_is_the_formula(self, num: int, width: int) -> None:
        features, labels = classes(num, width)
        fitted = LedoitWolf().fit(features)
        means = np.stack([features[labels == label].mean(axis=0) for label in labels])
        between = np.cov(means, rowvar=False, bias=True)
        expected = (1 - fitted.shrinkage_) * np.trace(np.linalg.inv(fitted.covariance_) @ between)
        assert h_score(features, labels) == pytest.approx(expected)

    def test_of_many_samples_it_is_the_plain_one(self) -> None:
        """The share of variance between classes, summed over directions."""
        features, labels = classes(20_000, 3)
        within = sum(np.cov(features[labels == c], rowvar=False, bias=True) * np.mean(labels == c) for c in range(3))
        total = np.cov(features, rowvar=False, bias=True)
        expected = np.trace(np.linalg.inv(total) @ (total - within))
        assert h_score(features, labels) == pytest.approx(expected, rel=1e-2)
        assert 0 < expected < 2

    def test_the_unit_of_features_does_not_count(self) -> None:
        features, labels = classes(50, 8)
        assert h_score(100 * features + 3, labels) == pytest.approx(h_score(features, labels))

    def test_it_is_no_more_than_one_less_than_the_classes(self) -> None:
        features, labels = classes(300, 6, spread=100.0)
        assert 1.9 < h_score(features, labels) <= 2


class TestNeighbours:
    def test_they_are_scikit_learns(self) -> None:
        features, labels = classes(60, 5)
        values = np.eye(3)[labels]
        found = NearestNeighbors(n_neighbors=NUM_NEIGHBOURS, metric="cosine").fit(features)
        distances, index = found.kneighbors()  # of each training sample, itself left out
        weights = np.exp((1 - distances) / TEMPERATURE)
        expected = (weights[..., None] * values[index]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
        ours = neighbour_means(torch.from_numpy(features), torch.from_numpy(values))
        assert np.allclose(ours.numpy(), expected, atol=1e-4)

    def test_length_does_not_count_and_few_samples_are_all_neighbours(self) -> None:
        features, values = torch.tensor([[1.0, 0.0], [5.0, 0.1], [0.0, 2.0]]), torch.tensor([[1.0], [2.0], [4.0]])
        ours = neighbour_means(features, values)
        assert ours[0] == pytest.approx(2.0, abs=1e-3)
        assert torch.allclose(neighbour_means(features * torch.tensor([[3.0], [0.2], [9.0]]), values), ours)


def by_name(scores: tuple[ScreenScore, ...]) -> dict[str, ScreenScore]:
    assert [score.name for score in scores] == ["log_me", "leep", "h_score", "knn", "num_params"]
    return {score.name: score for score in scores}


class TestScreen:
    def test_of_an_untrained_backbone(self, small: Backbone, digits: Task) -> None:
        digest = module_digest(small)
        found = by_name(screen(small, digits, CPU))
        assert module_digest(small) == digest
        assert found["num_params"].value == sum(p.numel() for p in small.blocks.parameters())
        assert np.isnan(found["leep"].value)
        assert found["leep"].note == "LEEP needs a pretrained classifier, and this backbone has none"
        for name in ("log_me", "h_score", "knn"):
            assert np.isfinite(found[name].value)
            assert found[name].duration_s > 0
            assert found[name].note == ""
        assert 0.1 < found["knn"].value <= 1

    def test_its_figures_are_of_the_features_that_feed_the_head(self, small: Backbone, digits: Task) -> None:
        """And LEEP's of the classes that the pretrained head names."""
        found = by_name(screen(with_trained_head(small), digits, CPU))
        samples, labels = digits.train.batch(torch.arange(len(digits.train)))
        with torch.no_grad():
            features = small.features(digits.preprocessing.on_device()(samples))
            share = small.head(features).softmax(dim=1)  # type: ignore[arg-type]
        assert isinstance(features, torch.Tensor)
        assert found["leep"].value == pytest.approx(leep(share.numpy(), labels.numpy()), rel=1e-4)
        assert found["leep"].value < 0
        flat = features.flatten(2).mean(dim=2) if features.ndim > 2 else features
        assert found["h_score"].value == pytest.approx(h_score(flat.double().numpy(), labels.numpy()), rel=1e-2)
        assert found["knn"].value == pytest.approx(
            digits.objective.quality(neighbour_means(flat, torch.eye(10)[labels]), labels).accuracy
        )

    def test_of_labels_and_numbers_what_is_defined(self, small: Backbone, digits: Task) -> None:
        labels = by_name(screen(small, with_targets(digits, "multilabel", ("1", "2", "4"), bits), CPU))
        numbers = by_name(
            screen(small, with_targets(digits, "regression", ("number",), lambda t: t.float()[:, None]), CPU)
        )
        for found in (labels, numbers):
            assert np.isfinite(found["log_me"].value)
            assert np.isfinite(found["knn"].value)
            assert np.isnan([found["h_score"].value, found["leep"].value]).all()
            assert all("one class per sample" in found[name].note for name in ("h_score", "leep"))

    def test_of_many_samples_an_even_share_is_scored(self, small: Backbone, digits: Task) -> None:
        rows = digits.train.rows.repeat(2)
        targets = torch.arange(len(rows))
        task = replace(digits, train=replace(digits.train, rows=rows, targets=targets))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trainables.screen.features.MAX_SAMPLES", 11)
            found = screen_features(small, task, CPU, precision="fp32", execution=Execution(), num_runs=1)
        assert MAX_SAMPLES == 10_000
        assert found.targets.tolist() == list(range(0, 66, 6))
        assert len(found.features) == 11


def with_trained_head(backbone: Backbone) -> Backbone:
    """The same, said to have been trained with its head."""
    return Backbone(
        backbone.spec, list(backbone.blocks), backbone.head, backbone.preprocessing, has_trained_head=True
    ).eval()
