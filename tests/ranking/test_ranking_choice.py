"""Choosing a configuration: smoothed validation, search trials only, completed only."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from world import NUM_BLOCKS, trial, trials_table

from orchestrator.ranking import choose


def test_a_single_completed_trial_is_chosen() -> None:
    assert choose(trials_table([trial(0, state="failed"), trial(3, val_score=0.2)])) == 3


def test_failed_stopped_and_confirmation_rows_change_nothing() -> None:
    rows = [trial(n, learning_rate=10 ** -(1.5 + n), val_score=0.7 + 0.02 * n) for n in range(3)]
    noise = [
        trial(3, state="failed", val_score=0.99),
        trial(4, state="stopped", val_score=0.98),
        trial(5, state="failed", val_score=None),
        trial(6, phase="confirmation", val_score=0.97),
        trial(7, val_score=None),
    ]
    assert choose(trials_table(rows)) == choose(trials_table(rows + noise)) == 2


def test_a_lucky_outlier_loses_to_a_solid_neighbourhood() -> None:
    """One 0.905 among 0.85s at its own rate; three at 0.90 next to each other."""
    rows = [trial(n, learning_rate=1e-3 * 1.05**n, val_score=0.90) for n in range(3)]
    rows += [trial(3 + n, learning_rate=1e-5 * 1.05**n, val_score=0.85) for n in range(4)]
    rows += [trial(9, learning_rate=1e-5 * 1.05**2, val_score=0.905)]
    assert choose(trials_table(rows)) in (0, 1, 2)


def test_ties_go_to_the_lowest_number() -> None:
    assert choose(trials_table([trial(n) for n in (5, 2, 9)])) == 2


def test_linear_probe_can_win_and_has_no_learning_rate() -> None:
    rows = [trial(n, learning_rate=10 ** -(1.5 + n / 2), val_score=0.6 + 0.01 * (n % 2)) for n in range(5)]
    rows += [trial(5 + n, freeze_depth=NUM_BLOCKS, val_score=0.9) for n in range(2)]
    chosen = choose(trials_table(rows))
    assert chosen == 5
    assert choose(trials_table(rows[5:])) == 5  # nothing but probes


def test_a_diverged_but_completed_trial_does_not_drag_its_neighbours_down() -> None:
    rows = [trial(n, learning_rate=10 ** -(4 - n / 2), val_score=0.80 + 0.02 * n) for n in range(4)]
    rows += [trial(4, learning_rate=10**-1.9, val_score=0.05)]
    assert choose(trials_table(rows)) == 3


def test_a_regression_that_blew_up_is_not_chosen_and_spoils_no_neighbour() -> None:
    rows = [trial(n, learning_rate=10 ** -(4 - n / 2), metric="r2", val_score=0.3 + 0.1 * n) for n in range(4)]
    for value in (-0.5, -7.0, -1e12):
        assert choose(trials_table([*rows, trial(4, learning_rate=10**-1.9, metric="r2", val_score=value)])) == 3
    poor = [trial(n, metric="r2", val_score=-3.0) for n in range(3)]
    assert choose(trials_table(poor)) == 0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    order=st.permutations(range(8)),
    scores=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
)
def test_always_a_tried_completed_trial_whatever_the_order(seed: int, order: list[int], scores: list[float]) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        trial(
            n,
            freeze_depth=int(rng.integers(0, NUM_BLOCKS + 1)),
            head_learning_rate=float(10 ** rng.uniform(-4, -1)),
            val_score=scores[n],
            state="completed" if n % 3 else "stopped",
        )
        for n in range(8)
    ]
    chosen = choose(trials_table(rows))
    assert chosen % 3
    assert choose(trials_table([rows[n] for n in order])) == chosen


def test_equal_trials_give_the_same_choice_at_any_scale_of_noise() -> None:
    """Constant scores, duplicated points: nothing is singular and nothing warns."""
    for score in (0.0, 0.5, 1.0):
        assert choose(trials_table([trial(n, val_score=score) for n in range(6)])) == 0
