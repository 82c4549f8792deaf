"""Ctrl-C at a safe point: between two steps of the driver, never in the middle of a write."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback

__all__ = ["SafePoint", "deferred_interrupts"]

_asked = threading.Event()


class SafePoint(Callback):  # type: ignore[misc]  # ray ships no types
    """Raises KeyboardInterrupt at the next step of Tune's loop, of which there are ten a second."""

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if _asked.is_set():
            raise KeyboardInterrupt


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM wait for a `SafePoint`; a second one interrupts at once.

    Raised anywhere, it may leave Optuna's journal locked or come out as another error altogether. Outside
    the main thread, where signals do not arrive, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(*_: object) -> None:
        if _asked.is_set():
            raise KeyboardInterrupt
        _asked.set()

    _asked.clear()
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
