"""Signals wait for a safe point, once."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from orchestrator.interrupt import ENDING, Interrupted, SafePoint, deferred_interrupts, ending_signals, heed_again


def farewell() -> str:
    return "go on with: resume"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_next_step_of_the_driver(number: signal.Signals, code: int) -> None:
    handlers = [signal.getsignal(one) for one in ENDING]
    point = SafePoint()
    written = []

    @deferred_interrupts()
    def fit() -> None:
        point.on_step_begin(0, [])
        os.kill(os.getpid(), number)
        written.append("a row, whole")
        point.on_step_begin(1, [])

    with pytest.raises(Interrupted) as ended, ending_signals(farewell):
        fit()
    assert written
    assert ended.value.exit_code == code
    assert [signal.getsignal(one) for one in ENDING] == handlers
    with ending_signals(farewell), deferred_interrupts():
        point.on_step_begin(0, [])  # what was asked of one sweep is not asked of the next


def test_ray_may_handle_signals_no_longer_than_it_starts() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray puts its own handler there
        heed_again()
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal interrupts")

    with pytest.raises(Interrupted), ending_signals(farewell):
        work()
    heed_again()
    assert signal.getsignal(signal.SIGTERM) == before, "nobody waits for signals any more"


def test_where_nothing_is_written_a_signal_is_heeded_at_once() -> None:
    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal interrupts")

    with pytest.raises(Interrupted), ending_signals(farewell):
        work()


def test_a_signal_that_finds_no_safe_point_any_more_is_not_lost() -> None:
    with pytest.raises(Interrupted), ending_signals(farewell), deferred_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_a_check_raises_ends_the_sweep_and_is_kept() -> None:
    def check() -> None:
        raise OSError("gone")

    point = SafePoint(check)
    with pytest.raises(OSError, match="gone"):
        point.on_step_begin(0, [])
    assert isinstance(point.failure, OSError)


def test_tune_may_pickle_a_safe_point_whatever_its_checks_hold() -> None:
    lock = threading.Lock()
    pickle.dumps(SafePoint(lambda: lock.release()))


INSISTS = """
import os, signal, time
from orchestrator.interrupt import deferred_interrupts, ending_signals
with ending_signals(lambda: "go on with: resume"), deferred_interrupts():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.{second})
    time.sleep(60)
"""


@pytest.mark.parametrize(("second", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_who_insists_is_not_kept_waiting(second: str, code: int) -> None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", INSISTS.format(second=second)], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr.strip() == "go on with: resume"
    assert time.monotonic() - started < 50


def test_elsewhere_than_in_the_main_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with ending_signals(farewell), deferred_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
