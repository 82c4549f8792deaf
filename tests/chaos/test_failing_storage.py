"""Disks that are full, read-only or damaged under a sweep: it stops while it can be recorded, and goes on later."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.invariants import examine
from benchmarks.chaos.kills import small_sweep
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.victim import Driver, Victim

pytestmark = pytest.mark.slow

MIB = 2**20
SIZE_MIB = 48


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    order = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "chaos", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system takes root")
    if subprocess.run(order, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def wait_for_row(victim: Victim, driver: Driver) -> None:
    before = victim.num_rows
    wait_until(lambda: victim.num_rows > before or not driver.is_alive, 180)
    assert driver.is_alive, driver.err


def stopped(driver: Driver) -> str:
    """What a driver said that ended because of its storage."""
    assert driver.wait(60) == 4, driver.err
    assert "Traceback" not in driver.err
    assert "to go on: python -m orchestrator resume" in driver.err
    return driver.err


def test_a_sweep_outlives_a_full_disk_and_one_that_turns_read_only(
    new_victim: Callable[..., Victim], small_disk: Path, tmp_path: Path
) -> None:
    """Lost: an epoch of each trial under way, at most. The user sees which disk, and the command to go on with."""
    victim = new_victim(
        small_sweep(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"),
        storage=small_disk / "sweeps",
    )
    driver = victim.start()
    wait_for_row(victim, driver)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(MIB // 4))
                file.flush()
        except OSError:
            pass
    said = stopped(driver)
    assert str(small_disk) in said
    rows = victim.num_rows
    ballast.unlink()

    driver = victim.resume()
    assert wait_until(lambda: victim.num_rows > rows or not driver.is_alive, 180)
    assert driver.is_alive, driver.err
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = stopped(driver)
    assert str(small_disk) in said
    refused = victim.resume()
    assert refused.wait() == 4
    assert "must be writable: Read-only file system" in refused.err
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)

    # A ledger that is missing or damaged is refused, and left as it is: it may be what a copy is compared with.
    ledger = victim.sweep.ledger_file
    whole = ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    for content in (None, whole[:20] + b"#" * 40 + whole[60:], b"".join(lines[: len(lines) // 3])):
        ledger.unlink()
        if content is not None:
            ledger.write_bytes(content)
        refused = victim.resume()
        assert refused.wait() == 4, refused.err
        assert f"the ledger {ledger}" in refused.err or "the ledger must know every recorded run" in refused.err
        assert "Traceback" not in refused.err
        assert (ledger.read_bytes() if ledger.exists() else None) == content
    ledger.write_bytes(whole)

    last = victim.resume()
    assert last.wait() == 0, last.err
    assert examine(victim, database=tmp_path / "mlflow.db").broken == []
