"""The parts by hand: surface, tuning curve, collapse rule, covariance, step-down."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import NUM_BLOCKS, RATE_RANGE, Model, World, trial, trials_table

from orchestrator.ranking.curve import expected_best, random_configurations, replay, slice_curve
from orchestrator.ranking.interval import (
    examples_bound,
    examples_covariance,
    nearest_psd,
    run_noise,
    simultaneous,
)
from orchestrator.ranking.purchase import Bought, Prices, Variances, price
from orchestrator.ranking.scale import FLOOR, LogError, lowest
from orchestrator.ranking.score import normalise
from orchestrator.ranking.study import collapsed, read_runs
from orchestrator.ranking.surface import embed, fit

# Surface


def test_a_probe_is_equally_far_from_every_learning_rate() -> None:
    points = embed([1.0, 1.0, 1.0, 1.0], [None, 1e-5, 1e-3, 1e-1], [1e-2] * 4)
    to_probe = np.linalg.norm(points[1:] - points[0], axis=1)
    assert to_probe == pytest.approx([2.0, 2.0, 2.0])
    apart = [float(np.linalg.norm(points[1] - point)) for point in points[1:]]
    assert apart[0] == 0 < apart[1] < apart[2]
    assert apart[1] == pytest.approx(2.0, rel=0.05)  # 1e-5 to 1e-3: two decades, all but


def test_chords_grow_with_the_distance_over_the_whole_range() -> None:
    points = embed([0.0] * 61, [10.0**rate for rate in np.linspace(-6.5, -0.5, 61)], [1e-2] * 61)
    steps = np.linalg.norm(points - points[0], axis=1)
    assert np.all(np.diff(steps) > 0)


def test_the_error_scale_is_monotone_and_inverts() -> None:
    scores = np.linspace(0.0, 1.0, 101)
    values = LogError.apply(scores)
    assert np.all(np.diff(values) > 0)
    assert LogError.invert(values) == pytest.approx(scores)
    assert LogError.slope(0.85) == pytest.approx(1.0)
    assert np.all(np.isfinite(LogError.invert(np.array([-1e9, 2.0]))))


def test_halving_the_error_is_the_same_step_for_poor_and_good_scores() -> None:
    poor, good = (LogError.apply(np.array(pair)) for pair in ([0.45, 0.75], [0.85, 0.95]))
    assert poor[1] - poor[0] == pytest.approx(good[1] - good[0])


def test_replicates_are_averaged_and_shrink_the_variance() -> None:
    here = embed([0.5], [1e-3], [1e-2])
    few = fit(np.repeat(here, 2, axis=0), np.array([0.80, 0.81]))
    many = fit(np.repeat(here, 20, axis=0), np.array([0.80, 0.81] * 10))
    assert few.mean(here)[0] == pytest.approx(0.805, abs=5e-4)
    assert many.moments(here)[1][0] < few.moments(here)[1][0] < 0.01**2


def test_far_from_the_data_the_surface_knows_little() -> None:
    surface = fit(embed([0.5] * 4, [1e-3, 2e-3, 4e-3, 1e-3], [1e-2] * 4), np.array([0.8, 0.82, 0.79, 0.81]))
    near, far = surface.moments(embed([0.5, 1.0], [1e-3, None], [1e-2, 1e-4]))[1]
    assert far > 2 * near


def test_far_from_the_data_the_surface_expects_less() -> None:
    """One best rate: five decades away is expected to be worse, and how much worse is open."""
    surface = fit(embed([0.5] * 4, [1e-3] * 4, [1e-2] * 4), np.array([0.80, 0.81, 0.80, 0.81]))
    mean, variance = surface.moments(embed([0.5, 0.5], [1e-3, 10**-6.5], [1e-2] * 2))
    assert mean[1] < mean[0] - 0.02
    assert mean[0] - mean[1] < 3 * variance[1] ** 0.5


def test_draws_agree_with_the_moments() -> None:
    rng = np.random.default_rng(0)
    rates = [1e-4, 3e-4, 1e-3, 3e-3, 1e-3, 1e-3]
    surface = fit(embed([0.2, 0.4, 0.6, 0.8, 0.6, 0.6], rates, [1e-2] * 6), np.linspace(0.80, 0.84, 6))
    at = embed([0.6, 0.3, 0.7], [1e-3, 2e-4, 2e-3], [1e-2] * 3)  # where no draw falls to the floor
    draws, seed_sds = surface.draw(at, 8000, rng)
    lowered = surface.scale.apply(draws)
    mean, variance = surface.moments(at)
    assert draws.shape == (8000, 3)
    assert seed_sds.shape == (8000,)
    assert lowered.mean(axis=0) == pytest.approx(mean, abs=4 * math.sqrt(variance.max() / 8000))
    assert lowered.var(axis=0) == pytest.approx(variance, rel=0.12)


def test_an_end_of_tuning_that_is_the_same_for_all_has_no_effect() -> None:
    where = ([0.0, 0.2, 0.5, 0.2], [1e-4, 1e-3, 3e-3, 1e-3], [1e-2, 1e-3, 1e-2, 3e-2])
    scores, at = np.array([0.80, 0.83, 0.79, 0.84]), ([0.3, 0.0], [1e-3, None], [1e-2, 1e-2])
    whole, part = (fit(embed(*where, stop), scores) for stop in (1.0, 0.7))
    for stop, surface in ((1.0, whole), (0.7, part)):
        mean, variance = surface.moments(embed(*at, stop))
        assert np.array_equal(mean, whole.moments(embed(*at))[0])
        assert np.array_equal(variance, whole.moments(embed(*at))[1])
        drawn = surface.draw(embed(*at, stop), 50, np.random.default_rng(0))
        assert np.array_equal(drawn[0], whole.draw(embed(*at), 50, np.random.default_rng(0))[0])


def test_windows_that_end_elsewhere_are_other_places() -> None:
    start, rates = [0.25] * 6, [1e-3] * 6
    points = embed(start, rates, [1e-2] * 6, [0.5] * 3 + [1.0] * 3)
    surface = fit(points, np.array([0.70, 0.71, 0.70, 0.85, 0.86, 0.85]))
    early, late = surface.mean(embed([0.25] * 2, [1e-3] * 2, [1e-2] * 2, [0.5, 1.0]))
    assert early < 0.74 < 0.82 < late


def test_a_regression_that_blew_up_counts_as_poor_and_no_worse() -> None:
    points = embed([0.5] * 5, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], [1e-2] * 5)
    scores = np.array([0.5, 0.6, 0.65, 0.6, -0.2])
    blown = np.array([0.5, 0.6, 0.65, 0.6, -1e9])
    assert np.array_equal(fit(points, blown, low=FLOOR).mean(points), fit(points, scores, low=FLOOR).mean(points))
    assert -0.2 <= fit(points, scores, low=FLOOR).mean(points)[-1] < 0.2
    assert (lowest("r2"), lowest("accuracy"), lowest(None)) == (FLOOR, 0.0, 0.0)


# Tuning curve


def test_expected_best_by_enumeration() -> None:
    val, test = np.array([0.3, 0.1, 0.4, 0.2, 0.35]), np.array([0.5, 0.9, 0.6, 0.1, 0.7])
    for n in range(1, 6):
        by_hand = np.mean([test[max(subset, key=lambda i: val[i])] for subset in itertools.combinations(range(5), n)])
        assert expected_best(val, test, [n]) == pytest.approx([by_hand])
    with pytest.raises(ValueError, match="best of 6"):
        expected_best(val, test, [1, 6])
    assert slice_curve(val, test) == pytest.approx(expected_best(val, test, (1, 2, 4)))


def test_replay_on_a_known_surface_is_random_search() -> None:
    """No noise and one draw: the curve of the surface's own order statistics."""
    surface = np.linspace(0, 1, 2001)[None, :]
    curve = replay(surface, np.zeros(1), 0.0, np.random.default_rng(0))[0]
    assert curve == pytest.approx([n / (n + 1) for n in (1, 2, 4, 8)], abs=1e-3)


def test_noisy_validation_lowers_the_curve_and_never_the_first_point() -> None:
    surface = np.tile(np.linspace(0.7, 0.9, 400), (200, 1))
    clean = replay(surface, np.zeros(200), 0.0, np.random.default_rng(0)).mean(axis=0)
    noisy = replay(surface, np.zeros(200), 0.1**2, np.random.default_rng(0)).mean(axis=0)
    assert noisy[0] == pytest.approx(clean[0], abs=1e-3)
    assert np.all(noisy[1:] < clean[1:])


def test_random_configurations_cover_the_space_the_trials_came_from() -> None:
    trials, _ = World(models={"a": Model()}, num_random=40, num_tpe=0).tables()
    runs = [run for run in read_runs(trials) if run.phase == "random"]
    points = random_configurations(runs, 4000, np.random.default_rng(0))
    probes = np.all(points[:, 1:3] == 0, axis=1)
    assert np.array_equal(probes, points[:, 0] == 1.0)
    assert set(np.unique(points[:, 0] * NUM_BLOCKS)) == set(range(NUM_BLOCKS + 1))
    rates = 2.0 * np.arctan2(points[~probes, 2], points[~probes, 1]) - 3.5
    assert (rates.min(), rates.max()) == pytest.approx(RATE_RANGE, abs=0.4)


def test_random_configurations_of_windows_are_windows_that_were_drawn() -> None:
    windows = [(0, 2), (2, 4), (4, 8), (2, 4)]
    rows = [trial(n, freeze_depth=start, tune_stop=stop) for n, (start, stop) in enumerate(windows)]
    points = random_configurations(read_runs(trials_table(rows)), 300, np.random.default_rng(0))
    found = {(round(a * NUM_BLOCKS), round(b * NUM_BLOCKS)) for a, b in points[:, [0, 4]]}
    assert found == set(windows)
    assert not np.any(np.all(points[:, 1:3] == 0, axis=1)), "a window always has a learning rate"


# Collapse, normalisation


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.90, 0.89, 0.60], [False, False, True]),
        ([0.90, 0.89, 0.86], [False, False, False]),  # 3 points exactly: not more
        ([0.90, 0.80, 0.70], [False, False, False]),  # wide, but not an outlier of these three
        ([0.90, 0.50], [False, False]),  # two cannot say which one is wrong
        ([0.90], [False]),
        ([], []),
        ([0.60, 0.90, 0.905, 0.895, 0.90], [True, False, False, False, False]),
    ],
)
def test_collapse_rule(scores: list[float], expected: list[bool]) -> None:
    assert collapsed(scores).tolist() == expected


def test_normalise_has_fixed_anchors() -> None:
    assert normalise([0.25, 1.0, 0.625, 0.0], 0.25) == pytest.approx([0.0, 1.0, 0.5, -0.2])


# Covariance of the examples


def test_examples_covariance_by_hand() -> None:
    """Two runs that agree: no run noise, so the plain covariance of the indicators over n."""
    a = np.array([[1.0, 1.0, 0.0, 1.0]] * 2)
    b = np.array([[1.0, 0.0, 0.0, 1.0]] * 2)
    expected = np.cov(np.stack([a[0], b[0]])) / 4
    assert examples_covariance([a, b]) == pytest.approx(expected)
    assert run_noise(a) == 0


def test_run_noise_is_taken_out() -> None:
    """Coin flips in every run: the examples are all equally hard, so they contribute nothing."""
    rng = np.random.default_rng(0)
    coin = rng.random((4, 20_000)) < 0.7
    assert run_noise(coin) == pytest.approx(0.21, abs=0.005)
    assert 0 <= examples_covariance([coin])[0, 0] * 20_000 < 0.005


def test_examples_covariance_matches_resampling() -> None:
    """Against redrawing the examples themselves: hard ones are hard for both."""
    rng = np.random.default_rng(1)

    def world(n: int) -> list[np.ndarray]:
        hardness = rng.standard_normal(n)
        return [
            np.stack([0.9 * hardness + 0.45 * own + 0.3 * rng.standard_normal(n) < 1.0 for _ in range(3)])
            for own in (rng.standard_normal(n), rng.standard_normal(n))
        ]

    means = np.array([[bits.mean() for bits in world(300)] for _ in range(2000)])
    estimated = np.mean([examples_covariance(world(300)) for _ in range(50)], axis=0)
    seeds = np.mean([run_noise(world(300)[0]) / 3 / 300 for _ in range(50)])
    assert np.cov(means.T) == pytest.approx(estimated + seeds * np.eye(2), rel=0.15)


def test_examples_covariance_of_a_regression_matches_resampling() -> None:
    """R2 is the mean of its examples' parts, so the same estimate serves."""
    rng = np.random.default_rng(4)

    def world(n: int) -> list[np.ndarray]:
        hardness = rng.standard_normal(n)
        return [
            np.stack([1 - 0.3 * (0.9 * hardness + 0.3 * own + 0.3 * rng.standard_normal(n)) ** 2 for _ in range(3)])
            for own in (rng.standard_normal(n), rng.standard_normal(n))
        ]

    means = np.array([[scores.mean() for scores in world(300)] for _ in range(2000)])
    estimated = np.mean([examples_covariance(world(300)) for _ in range(50)], axis=0)
    seeds = np.mean([run_noise(world(300)[0]) / 3 / 300 for _ in range(50)])
    assert np.cov(means.T) == pytest.approx(estimated + seeds * np.eye(2), rel=0.15)


def test_f1_bound_covers_macro_f1_on_a_skewed_test_set() -> None:
    rng = np.random.default_rng(2)
    labels_of = np.array([0.7, 0.2, 0.1])
    scores = []
    for _ in range(1500):
        labels = rng.choice(3, size=500, p=labels_of)
        wrong = rng.random(500) < np.array([0.05, 0.15, 0.3])[labels]
        guess = np.where(wrong, (labels + rng.integers(1, 3, 500)) % 3, labels)
        f1 = [
            2 * np.sum((guess == c) & (labels == c)) / max(np.sum(guess == c) + np.sum(labels == c), 1)
            for c in range(3)
        ]
        scores.append(np.mean(f1))
    bound = examples_bound(np.array([np.mean(scores)]), 500)[0, 0]
    assert np.var(scores) < bound < 10 * np.var(scores)


def test_nearest_psd_keeps_a_good_matrix_and_repairs_a_bad_one() -> None:
    good = np.array([[2.0, 1.0], [1.0, 2.0]])
    assert nearest_psd(good) is good
    repaired = nearest_psd(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert np.linalg.eigvalsh(repaired).min() >= -1e-12


# Simultaneous intervals


def test_two_scores_use_the_normal_quantile() -> None:
    result = simultaneous(np.array([0.9, 0.8]), np.eye(2) * 0.01**2, 0.95, 0)
    assert result.critical == pytest.approx(1.96, abs=0.05)
    assert result.sd[0, 1] == pytest.approx(0.01 * math.sqrt(2))
    assert (result.low.tolist(), result.high.tolist()) == ([1, 2], [1, 2])


def test_more_pairs_need_more_evidence() -> None:
    """Three independent equal scores: the quantile of the studentised range over sqrt 2, 3.314 / 1.414."""
    result = simultaneous(np.zeros(3), np.eye(3), 0.95, 0)
    assert result.critical == pytest.approx(2.344, abs=0.05)
    assert result.low.tolist() == [1, 1, 1]
    assert result.high.tolist() == [3, 3, 3]


def test_step_down_gains_over_one_step() -> None:
    """Once the far one is settled, a single pair is left and 1.96 standard errors decide it."""
    scores = np.array([0.0, 2.1 * math.sqrt(2), 100.0])
    result = simultaneous(scores, np.eye(3), 0.95, 0)
    assert result.critical > 2.1
    assert result.better[1, 0]
    assert result.low.tolist() == result.high.tolist() == [3, 2, 1]


def test_a_single_score_and_exact_ties() -> None:
    alone = simultaneous(np.array([0.5]), np.array([[0.01]]), 0.95, 0)
    assert (alone.critical, alone.low.tolist(), alone.high.tolist()) == (0.0, [1], [1])
    tie = simultaneous(np.array([0.5, 0.5]), np.ones((2, 2)) * 0.01, 0.95, 0)
    assert (tie.low.tolist(), tie.high.tolist()) == ([1, 1], [2, 2])


@settings(max_examples=40, deadline=None)
@given(
    scores=st.lists(st.floats(-0.2, 1.0), min_size=2, max_size=6),
    sd=st.floats(1e-4, 0.1),
    confidence=st.sampled_from([0.8, 0.95]),
)
def test_rank_intervals_are_consistent(scores: list[float], sd: float, confidence: float) -> None:
    values = np.array(scores)
    result = simultaneous(values, np.eye(len(values)) * sd**2, confidence, 0)
    point = 1 + (values[None, :] > values[:, None]).sum(axis=1)
    assert np.all(result.low <= point)
    assert np.all(point <= result.high)
    assert not np.any(result.better & result.better.T)


# What to buy


def test_prices_by_hand() -> None:
    parts = Variances(seeds=1e-5, examples=9e-5, tuning=0.0)
    bought = Bought(num_test=1000, num_seeds=3, num_trials=12)
    # (0.015 / 2)^2 = 5.625e-5; minus the seeds' 1e-5 leaves 4.625e-5 for the examples: 1.946 times the set.
    assert price(0.015, parts, 2.0, bought) == Prices(num_test=1946)
    assert price(0.05, parts, 2.0, bought) == Prices()  # told apart already
    assert price(0.0, parts, 2.0, bought) == Prices()
    # 0.0025^2 = 6.25e-6 is less than the seeds alone: 16 times all of it.
    assert price(0.005, parts, 2.0, bought) == Prices(times=pytest.approx(16.0))
    assert price(1e-5, parts, 2.0, bought) == Prices()  # no budget would do
    tuning = Variances(seeds=1e-5, examples=1e-5, tuning=4e-5)
    # 5e-5 allowed leaves 3e-5 of the tuning's 4e-5: sqrt(4 / 3) times the trials.
    assert price(2 * 5e-5**0.5, tuning, 2.0, bought) == Prices(num_trials=14)
    seeds = Variances(seeds=4e-5, examples=1e-5, tuning=0.0)
    assert price(2 * 2e-5**0.5, seeds, 2.0, bought) == Prices(num_seeds=12)


@settings(max_examples=40, deadline=None)
@given(
    difference=st.floats(1e-4, 0.1),
    parts=st.tuples(*[st.floats(1e-7, 1e-3)] * 3),
    critical=st.floats(1.5, 4.0),
)
def test_what_is_bought_suffices(difference: float, parts: tuple[float, float, float], critical: float) -> None:
    seeds, examples, tuning = parts
    prices = price(
        difference,
        Variances(seeds=seeds, examples=examples, tuning=tuning),
        critical,
        Bought(num_test=1000, num_seeds=10, num_trials=10),
    )
    allowed = (difference / critical) ** 2 * (1 + 1e-9)
    if prices.num_test is not None:
        assert seeds + examples * 1000 / prices.num_test + tuning <= allowed
    if prices.num_seeds is not None:
        assert seeds * 10 / prices.num_seeds + examples + tuning <= allowed
    if prices.num_trials is not None:
        assert seeds + examples + tuning * (10 / prices.num_trials) ** 2 <= allowed
    if prices.times is not None:
        assert (seeds + examples) / prices.times + tuning / prices.times**2 == pytest.approx(allowed, rel=1e-6)
