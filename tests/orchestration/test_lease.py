"""One driver per sweep, and none that a dead one keeps away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator import lease as leases
from orchestrator.errors import EnvironmentUnusable, UsageError
from orchestrator.lease import Holder, Lease, holder_of, lease

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.lease import Lease
held = Lease(Path(sys.argv[1]))
held.take()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a-sweep").mkdir()
    return tmp_path / "a-sweep" / "lease.json"


def elsewhere(beat: int = 7) -> Holder:
    return Holder(host="another", pid=4711, started_at="2026-01-02T03:04:05+00:00", token="t", beat=beat)


def test_a_second_driver_is_told_who_the_first_one_is(file: Path) -> None:
    with lease(file) as held:
        assert held.taken_from is None
        holder = holder_of(file)
        assert holder is not None
        assert holder.pid == os.getpid()
        with pytest.raises(UsageError, match=rf"a-sweep is driven by process {os.getpid()} on .*; wait for it"):
            Lease(file).take()
    assert holder_of(file) is None
    with lease(file) as held:
        assert held.taken_from is None, "it was given back"


def test_a_killed_holder_leaves_its_lease_at_once(file: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    holder = holder_of(file)
    assert holder is not None
    assert holder.pid == process.pid
    with pytest.raises(UsageError, match=str(process.pid)):
        Lease(file).take()
    process.kill()
    process.communicate()
    assert holder_of(file) is None
    with lease(file) as held:
        assert held.taken_from is not None
        assert held.taken_from.pid == process.pid


def test_a_holder_gives_signs_of_life(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.02)
    with lease(file):
        _until(lambda: (holder_of(file) or elsewhere(0)).beat >= 3)


def test_where_locks_are_not_passed_on_a_living_holder_keeps_its_lease(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On some network file systems every host gets the lock: then only signs of life tell."""
    monkeypatch.setattr(leases, "BEAT_S", 0.02)
    file.write_text(json.dumps(asdict(elsewhere())))
    beats = iter(range(8, 10**6))
    read = leases._read

    def alive(descriptor: int) -> Holder | None:
        found = read(descriptor)
        return elsewhere(next(beats)) if found is not None and found.token == "t" else found

    monkeypatch.setattr(leases, "_read", alive)
    with pytest.raises(UsageError, match="process 4711 on another"):
        Lease(file).take()


def test_where_locks_are_not_passed_on_a_silent_holder_is_gone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.02)
    monkeypatch.setattr(leases, "WATCH_S", 0.2)
    file.write_text(json.dumps(asdict(elsewhere())))
    assert holder_of(file) == elsewhere(), "its last sign of life is not old"
    with lease(file) as held:
        assert held.taken_from == elsewhere()


def test_who_was_taken_for_dead_learns_that_another_took_over(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.02)
    with lease(file) as held:
        file.write_text(json.dumps(asdict(elsewhere())))
        _until(lambda: held.is_lost)
    assert json.loads(file.read_text())["token"] == "t", "what is another's is left alone"


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="must be writable"), lease(tmp_path / "gone" / "lease.json"):
        pass


def _until(condition: object, timeout_s: float = 20.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
