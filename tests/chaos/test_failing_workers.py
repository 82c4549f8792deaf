"""Workers that die, hang, refuse and diverge: each costs its own trial at most."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.chaos.invariants import examine
from benchmarks.chaos.kills import small_sweep
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.victim import Victim

pytestmark = pytest.mark.slow

# No probes: they are trained in one piece, and saved with their result alone.
TUNED = {"base": "default", "freeze_depth": {"choice": [2]}}


def test_each_trial_that_goes_wrong_goes_wrong_alone(new_victim: Callable[..., Victim]) -> None:
    """Real training. Lost: the trials whose fault it is; what a worker had done before it died is kept."""
    from benchmarks.chaos.real import Sabotage

    victim = new_victim(
        small_sweep(
            backbones=["timm/test_vit@random"],
            budget={"trials": 8, "random_trials": 8, "max_epochs": 4},
            space=TUNED,
            resources={"gpus_per_trial": 0, "max_concurrent": 2, "max_retries": 1, "epoch_timeout_s": 20},
        ),
        worker="sabotaged",
    )
    driver = victim.start()
    assert driver.wait() == 3, driver.err
    assert "Traceback" not in driver.err
    wrong = (Sabotage.ALWAYS_KILLED, Sabotage.REFUSES, Sabotage.DIVERGES, Sabotage.HANGS)
    assert examine(victim, may_fail=wrong).broken == []

    folder = victim.sweep
    rows = {row["number"]: row for row in folder.trials.read().to_pylist()}
    assert {number for number, row in rows.items() if row["state"] == "failed"} == set(wrong)

    def found(number: int) -> tuple[str, int, str | None]:
        return rows[number]["state"], rows[number]["num_attempts"], rows[number]["error"]

    # Killed once, after an epoch that it had saved and could not tell: it goes on behind that epoch.
    assert found(Sabotage.KILLED_ONCE) == ("completed", 2, None)
    trained = [(line.attempt, line.epoch) for line in victim.epochs if line.number == Sabotage.KILLED_ONCE]
    assert trained == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert found(Sabotage.RAISES_AT_FIRST) == ("completed", 2, None)
    causes = {(row["number"], row["attempt"]): row["cause"] for row in folder.attempts.read().to_pylist()}
    assert causes[Sabotage.KILLED_ONCE, 1] is None
    assert "ended without a word" in causes[Sabotage.KILLED_ONCE, 2]
    assert causes[Sabotage.RAISES_AT_FIRST, 2] == "RuntimeError: no luck"

    state, attempts, error = found(Sabotage.ALWAYS_KILLED)
    assert (state, attempts) == ("failed", 2)
    assert error is not None
    assert "ended without a word" in error
    # What another worker would not fare better with is not tried again.
    assert found(Sabotage.REFUSES) == ("failed", 1, "InvalidConfig: a rule that this configuration breaks")
    assert found(Sabotage.DIVERGES) == ("failed", 1, "diverged: train loss is nan in epoch 2")
    state, attempts, error = found(Sabotage.HANGS)
    assert (state, attempts) == ("failed", 1)
    assert error is not None
    assert error.startswith("timeout: no epoch ended within 20 s (in ")


@pytest.mark.long
def test_workers_that_memory_has_no_room_for_fail_and_say_so(new_victim: Callable[..., Victim]) -> None:
    """Ray ends workers where the machine's memory runs low, which here it always does. Lost: the trials."""
    victim = new_victim(
        small_sweep(
            backbones=["timm/test_vit@random"],
            budget={"trials": 2, "random_trials": 2, "max_epochs": 200},
            resources={"gpus_per_trial": 0, "max_concurrent": 1, "max_retries": 0},
        ),
        environment={"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"},
    )
    driver = victim.start()
    assert driver.wait() == 1, driver.err
    rows = victim.sweep.trials.read().to_pylist()
    assert [row["state"] for row in rows] == ["failed"] * 2, driver.err
    assert all("memory" in row["error"] for row in rows), [row["error"] for row in rows]
    assert "Traceback" not in driver.err


@pytest.mark.long
def test_a_damaged_checkpoint_costs_one_epoch(new_victim: Callable[..., Victim]) -> None:
    """Real training. Lost: the epoch whose checkpoint was damaged, which is trained again to the same result."""
    config = small_sweep(
        backbones=["timm/test_vit@random"],
        budget={"trials": 1, "random_trials": 1, "max_epochs": 8},
        confirmation={"seeds": 2},
        space=TUNED,
        resources={"gpus_per_trial": 0, "max_concurrent": 1},
    )
    victim = new_victim(config, worker="real", environment={"CHAOS_EPOCH_S": "0.3"})
    driver = victim.start()
    assert wait_until(lambda: any(line.epoch >= 4 for line in victim.epochs) or not driver.is_alive, 180)
    driver.kill()
    folder = victim.sweep.path / "runs" / "00-00000"
    *_, newest = sorted(folder.glob("*.safetensors"))
    damaged = int(newest.stem.partition("-")[0])
    newest.write_bytes(newest.read_bytes()[:-100])
    driver = victim.resume()
    assert driver.wait() == 0, driver.err
    tally = examine(victim)
    assert tally.broken == []
    trained = [(line.attempt, line.epoch) for line in victim.epochs if line.number == 0]
    assert (1, damaged) in trained
    assert (2, damaged) in trained, "the epoch before it was whole, and gone on from"
    assert (2, damaged - 1) not in trained
