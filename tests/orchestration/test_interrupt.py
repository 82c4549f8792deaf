"""Ctrl-C waits for a safe point, once."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from orchestrator.interrupt import SafePoint, deferred_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_next_step_of_the_driver(number: signal.Signals) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    point = SafePoint()
    written = []

    @deferred_interrupts()
    def fit() -> None:
        point.on_step_begin(0, [])
        os.kill(os.getpid(), number)
        written.append("a row, whole")
        point.on_step_begin(1, [])

    with pytest.raises(KeyboardInterrupt):
        fit()
    assert written
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    with deferred_interrupts():
        point.on_step_begin(0, [])  # what was asked of one sweep is not asked of the next


def test_who_insists_is_not_kept_waiting() -> None:
    @deferred_interrupts()
    def fit() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one interrupts")

    with pytest.raises(KeyboardInterrupt):
        fit()


def test_elsewhere_than_in_the_main_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with deferred_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
