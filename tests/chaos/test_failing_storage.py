"""Disks that are full, read-only or damaged under a sweep: it stops while it can be recorded, and goes on later."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from benchmarks.chaos.invariants import examine
from benchmarks.chaos.kills import small_sweep
from benchmarks.chaos.victim import Driver, Victim

pytestmark = pytest.mark.slow

MIB = 2**20
SIZE_MIB = 48


class SmallDisk:
    """A file system of its own, seen through a second mount, which can be taken away and put back at any time."""

    def __init__(self, folder: Path) -> None:
        self._disk, self.path = folder / "disk", folder / "storage"
        for place in (self._disk, self.path):
            place.mkdir()
        run_mount("-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "chaos", str(self._disk))
        self._show()

    def fill(self) -> None:
        with (self._disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(MIB // 4))

    def empty(self) -> None:
        (self._disk / "ballast").unlink()

    def turn(self, access: Literal["ro", "rw"]) -> None:
        """As an administrator, or an error of the disk, does: files that are open stay so, and no other opens."""
        run_umount(self.path)
        self._show()
        run_mount("-o", f"remount,bind,{access}", str(self.path))

    def remove(self) -> None:
        for place in (self.path, self._disk):
            run_umount(place)

    def _show(self) -> None:
        run_mount("--bind", str(self._disk), str(self.path))


def run_mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def run_umount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system takes root")
    try:
        made = SmallDisk(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine mounts no file system: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        made.remove()


def stopped(driver: Driver) -> str:
    """What a driver said that ended because of its storage."""
    assert driver.wait(60) == 4, driver.err
    assert "Traceback" not in driver.err
    assert "to go on: python -m orchestrator resume" in driver.err
    return driver.err


def test_a_sweep_outlives_a_full_disk_and_one_that_turns_read_only(
    new_victim: Callable[..., Victim], disk: SmallDisk, tmp_path: Path
) -> None:
    """Lost: the epochs that trials under way completed while nothing could be written, before the driver stopped: two
    at most of each. The user sees which disk, and the command to go on with."""
    victim = new_victim(small_sweep(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"), storage=disk.path / "sweeps")
    victim.set_epoch_s(1.0)
    driver = victim.start()
    victim.wait_for_epoch(driver, 2 * 4 + 1)  # of two at a time: one has ended
    disk.fill()
    assert str(disk.path) in stopped(driver)
    disk.empty()

    driver = victim.resume()
    victim.wait_for_epoch(driver)
    disk.turn("ro")
    assert str(disk.path) in stopped(driver)
    refused = victim.resume()
    assert refused.wait() == 4
    assert "must be writable: Read-only file system" in refused.err
    disk.turn("rw")

    # A ledger that is damaged or cut is refused, and left as it is: it may be what a copy is compared with.
    ledger = victim.sweep.ledger_file
    whole = ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    for content in (whole[:20] + b"#" * 40 + whole[60:], b"".join(lines[:2])):
        ledger.write_bytes(content)
        refused = victim.resume()
        assert refused.wait() == 4, refused.err
        assert "the ledger" in refused.err
        assert "put back a copy of it" in refused.err
        assert "Traceback" not in refused.err
        assert ledger.read_bytes() == content
    ledger.write_bytes(whole)

    victim.set_epoch_s(0.0)
    last = victim.resume()
    assert last.wait() == 0, last.err
    assert examine(victim, database=tmp_path / "mlflow.db", again_per_attempt=2).broken == []
