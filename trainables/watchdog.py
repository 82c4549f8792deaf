"""Ends this process when an epoch takes too long, whatever it hangs in (no torch)."""

from __future__ import annotations

import faulthandler
import os
import re
import time
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias

__all__ = ["EpochTimeout", "Watchdog", "epoch_timeout_s", "timeout_reason"]

EpochTimeout: TypeAlias = float | Literal["auto"] | None
"""Seconds > 0 that an epoch may take; ``auto`` goes by those before it, None lets it take for ever."""

FIRST_TIMEOUT_S: Final = 6 * 3600.0
"""Under ``auto``, of a start, of the first epoch and of an evaluation: data are decoded, activations cached,
programs compiled, and nothing says yet how long that takes."""

LEAST_TIMEOUT_S: Final = 600.0
TIMES_LONGEST: Final = 20
"""Under ``auto``, of each later epoch: so many times the longest one, as others may come to share the machine,
and never less than the ten minutes."""

_TIMEOUT: Final = re.compile(r"^Timeout \((?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d)(?P<frac>\.\d+)?\)!\n", re.MULTILINE)
_THREAD: Final = re.compile(r"^(?:Current t|T)hread 0x[0-9a-f]+[^\n]*\n", re.MULTILINE)
_FRAME: Final = re.compile(r'\s+File "(?P<file>[^"\n]*)", line (?P<line>\d+|\?\?\?) in (?P<function>[^\n]+)\n')


def epoch_timeout_s(setting: EpochTimeout, longest_s: float | None) -> float | None:
    """How long the next epoch may take, in seconds; None is for ever.

    Args:
        longest_s: wall seconds of the longest epoch that this process has trained of this run, validation
            included; None where the next one is the first, be the run resumed or not.
    """
    if setting != "auto":
        return setting
    return FIRST_TIMEOUT_S if longest_s is None else max(LEAST_TIMEOUT_S, TIMES_LONGEST * longest_s)


class Watchdog(AbstractContextManager[None]):
    """A timer around the start of a run and around each of its epochs, in this order::

        watchdog = Watchdog(file, "auto")
        with watchdog:
            run = ...  # load, build
        with watchdog:
            run.train_epoch()

    When it runs out, the stacks of all threads are in `file` and the process has ended with exit code 1. The timer
    is a thread that needs nothing of Python: it ends a process that hangs in C code, in a library's lock or in the
    driver of a GPU, where no signal and no exception gets through. A process has one of them.

    Args:
        file: stacks are written to its end. It is there while the timer runs, and not for that afterwards.
            Its folder must exist.
        setting: how long each may take.
    """

    def __init__(self, file: Path, setting: EpochTimeout = "auto") -> None:
        self._file = file
        self._setting = setting
        self._descriptor: int | None = None
        self._num_done = 0
        self._longest_s: float | None = None
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()
        self.begin(epoch_timeout_s(self._setting, self._longest_s))

    def __exit__(self, *_: object) -> None:
        self.end()
        if self._num_done:
            self._longest_s = max(self._longest_s or 0.0, time.monotonic() - self._began)
        self._num_done += 1

    def begin(self, timeout_s: float | None) -> None:
        """Let the process end in `timeout_s` seconds (> 0), or never, counted from now; an earlier timer is off.

        Raises:
            OSError: the file cannot be written.
        """
        self.end()
        if timeout_s is None:
            return
        self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        faulthandler.dump_traceback_later(timeout_s, exit=True, file=self._descriptor)

    def begin_evaluation(self) -> None:
        """Count from now, as of a first epoch: an evaluation after the last epoch is longer than any of them."""
        self.begin(epoch_timeout_s(self._setting, None))

    def end(self) -> None:
        """Stop the timer, if it runs, and remove its file unless somebody else has written to it."""
        if self._descriptor is None:
            return
        faulthandler.cancel_dump_traceback_later()
        is_empty = os.fstat(self._descriptor).st_size == 0
        os.close(self._descriptor)
        self._descriptor = None
        if is_empty:
            self._file.unlink(missing_ok=True)


def timeout_reason(text: str) -> str | None:
    """Why a process is gone, from the file of its watchdog; None where no timer had run out.

    ``timeout: no epoch ended within 600 s (in wait at threading.py:320)``: where the main thread was.
    """
    timeout = next(reversed(list(_TIMEOUT.finditer(text))), None)
    if timeout is None:
        return None
    spent = timedelta(hours=int(timeout["h"]), minutes=int(timeout["m"]), seconds=float(timeout["s"]))
    seconds = f"{spent.total_seconds() + float(timeout['frac'] or 0):.1f}".removesuffix(".0")
    reason = f"timeout: no epoch ended within {seconds} s"
    # Threads are listed from the newest to the oldest, and the oldest is the one that trains.
    *_, stack = (None, *_THREAD.finditer(text, timeout.end()))
    frame = None if stack is None else _FRAME.match(text, stack.end())
    if frame is None:
        return reason
    *_, folder, file = ("", *Path(frame["file"]).parts)
    name = f"{folder}/{file}" if file == "__init__.py" else file
    return f"{reason} (in {frame['function']} at {name}:{frame['line']})"
