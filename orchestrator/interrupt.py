"""Signals that end a sweep: at a safe point, never in the middle of a write; a second one at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ray.tune import Callback

__all__ = ["ENDING", "Interrupted", "SafePoint", "deferred_interrupts", "ending_signals", "heed_again"]

ENDING: Final = (signal.SIGINT, signal.SIGTERM)

_asked: list[int] = []
_deferred = threading.Event()
_handlers: list[Callable[[int, Any], None]] = []


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 of Ctrl-C, 143 of SIGTERM."""
        return 128 + self.number


class SafePoint(Callback):  # type: ignore[misc]  # ray ships no types
    """Raises at the next step of Tune's loop, of which there are ten a second, what there is to raise.

    Args:
        checks: each raises where the sweep must not go on.
    """

    def __init__(self, *checks: Callable[[], None]) -> None:
        self._checks = checks
        self.failure: Exception | None = None
        """What a check raised. Tune may wrap it in an error of its own."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles a Tuner's parts for a restore that is never made."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if _asked:
            raise Interrupted(_asked[0])
        for check in self._checks:
            try:
                check()
            except Exception as error:
                self.failure = error
                raise


@contextmanager
def ending_signals(farewell: Callable[[], str]) -> Iterator[None]:
    """While this lasts the first SIGINT or SIGTERM raises `Interrupted`, where signals are not deferred, and
    the second ends the process on the spot, with the words of `farewell` on stderr.

    Outside the main thread, where signals do not arrive, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        _asked.append(number)
        if len(_asked) > 1:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{farewell()}\n".encode())
            os._exit(128 + number)
        if not _deferred.is_set():
            raise Interrupted(number)

    _asked.clear()
    before = {number: signal.signal(number, ask) for number in ENDING}
    _handlers.append(ask)
    try:
        yield
    finally:
        _handlers.pop()
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


def heed_again() -> None:
    """Put back what `ending_signals` had put there: Ray, when it starts, handles SIGTERM in its own way."""
    if _handlers and threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, _handlers[-1])


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Let the first signal wait for a `SafePoint`, or the end of this.

    Raised anywhere, it may leave Optuna's journal locked or come out as another error altogether.
    """
    _deferred.set()
    try:
        yield
    finally:
        _deferred.clear()
    if _asked:
        raise Interrupted(_asked[0])
