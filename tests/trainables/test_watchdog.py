"""A process that hangs is ended whatever it hangs in, and what it hung in can be told."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.watchdog import Watchdog, epoch_timeout_s, timeout_reason

HANGS = """
import itertools, re, sys, threading, time
from pathlib import Path
from trainables.watchdog import Watchdog

def sleeps():
    time.sleep(60)

def holds_the_gil():
    sum(itertools.repeat(1))  # C code that never lets another thread run, or a signal be handled

def waits_for_itself():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
watchdog = Watchdog(Path(sys.argv[1]), 0.4)
with watchdog:
    pass
print(Path(sys.argv[1]).exists(), flush=True)
with watchdog:
    globals()[sys.argv[2]]()
"""


@pytest.mark.parametrize("function", ["sleeps", "holds_the_gil", "waits_for_itself"])
def test_a_process_that_hangs_is_ended_and_says_where(function: str, tmp_path: Path) -> None:
    script, file = tmp_path / "hangs.py", tmp_path / "stacks.txt"
    script.write_text(HANGS)
    done = subprocess.run(
        [sys.executable, str(script), str(file), function], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert done.stdout == "False\n"
    line = 1 + HANGS.splitlines().index(f"def {function}():") + (3 if function == "waits_for_itself" else 1)
    text = file.read_text()
    assert timeout_reason(text) == f"timeout: no epoch ended within 0.4 s (in {function} at hangs.py:{line})"
    assert text.count("Thread 0x") == 2, "the stacks of all threads"


class Timer:
    """In the place of faulthandler's: what it was set to, None where it is off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timeout_s: float | None = None
        self.clock_s = 0.0
        monkeypatch.setattr(faulthandler, "dump_traceback_later", self._set)
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: self._set(None))
        monkeypatch.setattr("time.monotonic", lambda: self.clock_s)

    def _set(self, timeout_s: float | None, **_: object) -> None:
        self.timeout_s = timeout_s


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    return Timer(monkeypatch)


class TestTimer:
    def test_auto_goes_by_the_longest_epoch_and_knows_nothing_of_the_first(self, timer: Timer, tmp_path: Path) -> None:
        watchdog, limits = Watchdog(tmp_path / "stacks.txt", "auto"), []
        for duration_s in (9000.0, 100.0, 10.0, 40.0, 5.0):
            with watchdog:
                limits.append(timer.timeout_s)
                timer.clock_s += duration_s
            assert timer.timeout_s is None
        assert limits == [21600, 21600, 2000, 2000, 2000], "the start is no epoch"

    def test_an_evaluation_has_as_long_as_a_first_epoch(self, timer: Timer, tmp_path: Path) -> None:
        watchdog = Watchdog(tmp_path / "stacks.txt")
        for _ in range(3):
            with watchdog:
                pass
        with watchdog:
            assert timer.timeout_s == 600
            watchdog.begin_evaluation()
            assert timer.timeout_s == 21600
        assert timer.timeout_s is None

    def test_none_is_never(self, timer: Timer, tmp_path: Path) -> None:
        with Watchdog(tmp_path / "stacks.txt", None):
            assert timer.timeout_s is None
            assert list(tmp_path.iterdir()) == []

    def test_what_others_wrote_into_its_file_stays(self, timer: Timer, tmp_path: Path) -> None:
        file = tmp_path / "stacks.txt"
        with Watchdog(file, 5.0):
            assert file.exists()
            file.write_text("a note\n")
        assert file.read_text() == "a note\n"

    def test_it_is_off_after_an_error(self, timer: Timer, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError), Watchdog(tmp_path / "stacks.txt", 5.0):
            raise RuntimeError
        assert timer.timeout_s is None
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_cannot_be_written_is_told(self, timer: Timer, tmp_path: Path) -> None:
        with pytest.raises(OSError), Watchdog(tmp_path / "nowhere" / "stacks.txt", 5.0):
            pass


class TestReason:
    STACKS = """a note
Timeout (0:10:00)!
Thread 0x00007f5202bfc6c0 (most recent call first):
  File "/lib/threading.py", line 320 in wait

Thread 0x00007f5203847b80 (most recent call first):
  File "/lib/python3.11/re/__init__.py", line 166 in match
  File "/my/train.py", line 3 in <module>
"""

    def test_it_is_where_the_oldest_thread_was(self) -> None:
        expected = "timeout: no epoch ended within 600 s (in match at re/__init__.py:166)"
        assert timeout_reason(self.STACKS) == expected

    def test_the_last_of_several(self) -> None:
        later = self.STACKS.replace("0:10:00", "26:00:01.250000").replace("match", "search")
        expected = "timeout: no epoch ended within 93601.2 s (in search at re/__init__.py:166)"
        assert timeout_reason(self.STACKS + later) == expected

    def test_without_a_stack_it_is_a_timeout_all_the_same(self) -> None:
        assert timeout_reason("Timeout (0:10:00)!\n") == "timeout: no epoch ended within 600 s"
        cut_off = self.STACKS[: self.STACKS.index("  File")]
        assert timeout_reason(cut_off) == "timeout: no epoch ended within 600 s"

    @pytest.mark.parametrize(
        "text", ["", "Traceback (most recent call last):\nTimeoutError: Timeout (x)\n", "a note\n"]
    )
    def test_anything_else_is_none(self, text: str) -> None:
        assert timeout_reason(text) is None

    @given(st.text())
    def test_any_text_can_be_asked(self, text: str) -> None:
        assert timeout_reason(text) is None or "Timeout (" in text


@given(st.floats(0, 1e6))
def test_auto_is_never_shorter_than_ten_minutes_or_twenty_epochs(longest_s: float) -> None:
    limit = epoch_timeout_s("auto", longest_s)
    assert limit is not None
    assert limit >= 600
    assert limit >= 20 * longest_s
    assert epoch_timeout_s(7.5, longest_s) == 7.5
    assert epoch_timeout_s(None, longest_s) is None
