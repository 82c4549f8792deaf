"""Drivers that are asked to stop, that meet each other, and that find another sweep than the one they left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from benchmarks.chaos.invariants import examine
from benchmarks.chaos.kills import small_sweep
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.victim import Driver, Victim

pytestmark = pytest.mark.slow


def stop(driver: Driver, number: int) -> float:
    """Seconds that it takes to end after a signal, on a machine with nothing else to do."""
    begun = time.monotonic()
    driver.send(number)
    driver.wait(120)
    others = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return (time.monotonic() - begun) / others


def test_a_sweep_stopped_in_every_way_goes_on(new_victim: Callable[..., Victim]) -> None:
    victim = new_victim(small_sweep())
    victim.set_epoch_s(2.0)

    # Another driver, while the first one is at work. Lost: nothing; it is told who is at it.
    driver = victim.start()
    victim.wait_for_epoch(driver)
    second = victim.resume()
    assert second.wait() == 2
    assert f"is driven by process {driver.process.pid} on " in second.err
    assert driver.is_alive, "which has not noticed"

    # Ctrl-C. Lost: at most an epoch of each trial under way. The user sees a ranking and how to go on.
    assert stop(driver, signal.SIGINT) <= 10
    assert driver.process.returncode == 130, driver.err
    assert "interrupted: ranking what had finished" in driver.err
    assert f"python -m orchestrator resume {victim.sweep.sweep_id}" in driver.out, "below the ranking"
    assert "Traceback" not in driver.err
    assert (victim.sweep.path / "ranking.json").exists()
    assert wait_until(lambda: not victim.processes, 10), victim.processes

    # A file that was changed meanwhile. Lost: nothing; the user sees what was, what is, and what to do.
    text = victim.sweep.config_file.read_text()
    assert "max_epochs: 4" in text
    victim.sweep.config_file.write_text(text.replace("max_epochs: 4", "max_epochs: 5"))
    refused = victim.resume()
    assert refused.wait() == 2
    assert "budget.max_epochs: was 4, is 5" in refused.err
    victim.sweep.config_file.write_text(text)

    # Another commit: said, and gone on with. Then SIGTERM, as of a machine that is taken away.
    facts = victim.sweep.read_facts()
    victim.sweep.write_facts({**facts, "git_commit": "0123456789abcdef"})
    driver = victim.resume()
    victim.wait_for_epoch(driver)
    assert stop(driver, signal.SIGTERM) <= 10
    assert driver.process.returncode == 143, driver.err
    assert "the sweep began at 0123456789ab" in driver.err

    # SIGKILL: the lease still has a name on it. Then two signals, the second of which ends it on the spot.
    driver = victim.resume()
    victim.wait_for_epoch(driver)
    driver.kill()
    assert json.loads(victim.sweep.lease_file.read_text())["pid"] == driver.process.pid
    after = victim.resume()
    victim.wait_for_epoch(after)
    assert f"taken over from process {driver.process.pid} on " in after.err
    after.send(signal.SIGINT)
    time.sleep(0.3)
    assert stop(after, signal.SIGINT) <= 1.5
    assert after.process.returncode == 130, after.err
    # Who had ranked by then says so with the ranking.
    assert f"python -m orchestrator resume {victim.sweep.sweep_id}" in after.err + after.out

    victim.set_epoch_s(0.0)
    last = victim.resume()
    assert last.wait() == 0, last.err
    assert examine(victim).broken == []
    done = victim.resume()
    assert done.wait() == 0
    assert "nothing to do" in done.err


def test_a_request_that_no_node_can_satisfy_is_refused_at_once(new_victim: Callable[..., Victim]) -> None:
    victim = new_victim(small_sweep(resources={"gpus_per_trial": 0, "cpus_per_trial": 1000}))
    driver = victim.start()
    assert driver.wait() == 4
    assert "no node can hold a trial of 1000 CPU" in driver.err
    assert "lower resources.cpus_per_trial" in driver.err
    assert victim.sweeps == [], "nothing was begun"
