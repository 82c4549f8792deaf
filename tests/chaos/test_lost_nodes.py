"""Nodes and heads of clusters that die under a sweep."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.chaos.invariants import examine
from benchmarks.chaos.kills import small_sweep
from benchmarks.chaos.nodes import two_nodes
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.victim import Victim

pytestmark = pytest.mark.slow

# So that a silent node is given up in two seconds and not in fifteen.
HASTY = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}


def node_of(pid: int, raylets: tuple[int, ...]) -> int:
    """Which raylet started a process."""
    while pid not in raylets:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def test_trials_of_a_lost_node_go_on_elsewhere(new_victim: Callable[..., Victim]) -> None:
    """SIGKILL of one of two raylets. Lost: an epoch of the trial that ran there, at most; the user sees a line."""
    victim = new_victim(
        small_sweep(),
        environment={**HASTY, "RAY_AUTH_MODE": "disabled"},
    )
    with two_nodes(victim.environment) as nodes:
        victim.address = nodes.address
        driver = victim.start("--insecure")

        def there() -> set[int]:
            """Processes of the other node that have trained."""
            return {line.pid for line in victim.epochs if node_of(line.pid, nodes.raylets) == nodes.raylets[1]}

        assert wait_until(lambda: not driver.is_alive or bool(there()), 180)
        assert driver.is_alive, driver.err
        pids = there()
        os.kill(nodes.raylets[1], signal.SIGKILL)
        assert driver.wait() == 0, driver.err
        assert driver.err.count("tried again after epoch") >= 1
    tally = examine(victim)
    assert tally.broken == []
    # One writer at a time: what the lost worker trained comes before what another trained of the same run.
    for line in victim.epochs:
        if line.pid in pids and line.attempt == 1:
            assert all(
                later.at >= line.at
                for later in victim.epochs
                if (later.study, later.number) == (line.study, line.number) and later.attempt > 1
            )


@pytest.mark.long
def test_a_sweep_survives_the_head_of_its_cluster(new_victim: Callable[..., Victim]) -> None:
    """SIGKILL of the GCS: Ray ends the driver itself, without a word of ours. Lost: an epoch per trial under way."""
    victim = new_victim(
        small_sweep(),
        environment={"RAY_gcs_rpc_server_reconnect_timeout_s": "3"},
    )
    victim.set_epoch_s(1.0)
    driver = victim.start()
    victim.wait_for_epoch(driver, 3)
    [head] = [one for one in victim.processes if "gcs_server" in one.command.partition(" ")[0]]
    os.kill(head.pid, signal.SIGKILL)
    assert driver.wait(60) != 0, driver.err
    victim.set_epoch_s(0.0)
    resumed = victim.resume()
    assert resumed.wait() == 0, resumed.err
    assert examine(victim).broken == []
