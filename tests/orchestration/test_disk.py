"""Disks with and without room, made up, and one real small one."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import Confirmation
from orchestrator.disk import low_water, require_space, reserve_bytes, sweep_bytes
from orchestrator.errors import EnvironmentUnusable

MIB = 2**20
Disk = Callable[..., None]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Sets what every disk says of itself."""

    def disk(free: int, total: int = 100 * 1024 * MIB, *, files: int = 10**6, of: int = 10**7, flag: int = 0) -> None:
        blocks = [total // 4096, free // 4096 + 999, free // 4096]  # root may have 999 more
        answer = os.statvfs_result((4096, 4096, *blocks, of, files, files, flag, 255))
        monkeypatch.setattr(os, "statvfs", lambda path: answer)

    return disk


@dataclass(frozen=True)
class Study:
    checkpoint_bytes: int
    model_bytes: int


def test_kept_networks_are_counted_until_the_best_of_a_study_is_known() -> None:
    studies = [Study(300, 100), Study(900, 250)]
    assert sweep_bytes(studies, Confirmation(keep_model=False), 4) == 4 * 900
    assert sweep_bytes(studies, Confirmation(seeds=3), 4) == 4 * 900 + (3 + 1) * 350
    assert sweep_bytes(studies, Confirmation(seeds=3), 1) == 900 + (1 + 1) * 350, "two never end together"


@given(total=st.integers(0, 2**50))
def test_the_reserve_is_bounded_and_leaves_every_disk_usable(total: int) -> None:
    reserve = reserve_bytes(total)
    assert 0 <= reserve <= 2048 * MIB
    assert reserve <= total / 10
    assert reserve >= min(200 * MIB, total // 10)
    assert reserve_bytes(total + 4096) >= reserve


def test_what_does_not_fit_is_refused_with_estimate_and_free_space(disk: Disk, tmp_path: Path) -> None:
    disk(free=3 * 1024 * MIB)
    require_space(tmp_path / "not" / "there", 2 * 1024 * MIB, "the checkpoints of 4 trials at a time")
    with pytest.raises(EnvironmentUnusable) as caught:
        require_space(tmp_path / "not" / "there", 3 * 1024 * MIB, "the checkpoints of 4 trials at a time")
    assert str(caught.value) == (
        f"the checkpoints of 4 trials at a time take an estimated 3.0 GiB in {tmp_path}/not/there, and 1.0 GiB are "
        "kept in reserve: 3.0 GiB of 100.0 GiB are free; free 1.0 GiB, or choose another --storage"
    )
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_a_running_sweep_is_told_before_the_disk_is_full(disk: Disk, tmp_path: Path) -> None:
    disk(free=1025 * MIB)
    assert low_water(tmp_path) is None
    disk(free=1000 * MIB)
    assert low_water(tmp_path) == (f"1,000.0 MiB are free for {tmp_path}, fewer than the 1.0 GiB kept in reserve")
    disk(free=10**12, files=10)
    assert "has room for 10 more files, fewer than the 200 in reserve" in (low_water(tmp_path) or "")
    disk(free=10**12, files=0, of=0)
    assert low_water(tmp_path) is None, "a file system that makes inodes as it needs them counts none"
    disk(free=10**12, flag=os.ST_RDONLY)
    assert "has become read-only" in (low_water(tmp_path) or "")


def test_a_disk_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "can no longer be reached: No such file" in (low_water(tmp_path / "gone") or "")

    def gone(path: Path) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "statvfs", gone)
    assert "can no longer be reached: Stale file handle" in (low_water(tmp_path) or "")
    with pytest.raises(EnvironmentUnusable, match="must be readable: Stale file handle"):
        require_space(tmp_path, 0, "the records of 3 runs")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_as_it_fills(small_disk: Path) -> None:
    require_space(small_disk / "sweeps", 10 * MIB, "the records of 3 runs")
    with pytest.raises(EnvironmentUnusable, match=r"11.0 MiB in .*, and 1.2 MiB are kept .* 12.0 MiB of 12.0 MiB"):
        require_space(small_disk / "sweeps", 11 * MIB, "the records of 3 runs")
    assert low_water(small_disk) is None
    (small_disk / "checkpoint").write_bytes(bytes(11 * MIB))
    assert low_water(small_disk) == f"1.0 MiB are free for {small_disk}, fewer than the 1.2 MiB kept in reserve"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "has become read-only" in (low_water(small_disk) or "")
