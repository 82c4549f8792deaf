"""Drivers killed at random moments: nothing is lost, nothing is done twice, the sweep is the one it would have been."""

from __future__ import annotations

import pytest

from benchmarks.chaos.kills import kill_drivers

pytestmark = pytest.mark.slow

NUM_KILLS = 8
"""In the long form, `python -m benchmarks.chaos`, it is a hundred."""


def test_drivers_killed_at_any_moment_lose_nothing_and_repeat_nothing() -> None:
    """SIGKILL, from before there is a sweep to while it is ranked, and resumed at once.

    Lost: nothing. The user sees a process that is gone, and finishes the sweep with ``resume``.
    """
    killed = kill_drivers(NUM_KILLS, seed=2)
    tally = killed.tally
    assert tally.broken == []
    assert killed.kills.total() >= NUM_KILLS
    assert killed.kills.keys() == {"starting", "searching", "confirming", "ranking"}
    assert (tally.lost_runs, tally.duplicate_runs, tally.failed_runs, tally.left_running) == (0, 0, 0, 0)
    assert (tally.duplicate_mlflow_runs, tally.duplicate_mlflow_points, tally.stray_processes) == (0, 0, 0)
    # Two trials at a time: at most one epoch of each is begun anew after a kill.
    assert tally.epochs_unique <= tally.epochs_run <= tally.epochs_unique + 2 * killed.kills.total()
    assert tally.attempts > tally.runs, "no trial was ever under way when its driver was killed"
