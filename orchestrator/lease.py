"""One driver per sweep: a lease that a dead holder loses and a living one keeps."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import EnvironmentUnusable, UsageError

__all__ = ["BEAT_S", "Holder", "Lease", "holder_of", "lease"]

BEAT_S: Final = 2.0
"""Between two signs of life."""

WATCH_S: Final = 10.0
"""A holder on another host that gives no sign of life for so long is gone."""

_TRIES: Final = 5
_MOMENT_S: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who drives a sweep."""

    host: str
    pid: int
    started_at: str
    """ISO 8601."""

    token: str
    """Of this one lease."""

    beat: int = 0
    """Counts its signs of life: what tells a living holder from a dead one without comparing clocks."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started_at[:19].replace('T', ' ')} UTC"


class Lease:
    """The right to write a sweep's records, as long as it is held.

    Two things guard it. A lock on the file, which the kernel lifts when the holder dies, however it dies: on
    one machine, and on shared file systems that pass locks on, this is exact. Where locks are not passed on
    the holder's signs of life in the file are watched before the lease is taken over.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        self._mine = Holder(
            host=socket.gethostname(), pid=os.getpid(), started_at=datetime.now(UTC).isoformat(), token=uuid.uuid4().hex
        )
        self._over = threading.Event()
        self.taken_from: Holder | None = None
        """Who held it and did not give it back."""

        self.is_lost = False
        """Whether somebody else holds it by now: this process was taken for dead, and must stop."""

        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def take(self) -> None:
        """
        Raises:
            UsageError: another driver holds it.
        """
        if not self._locked():
            raise _held(self._file, _read(self._descriptor))
        before = _read(self._descriptor)
        if before is not None:
            if before.host != self._mine.host and _lives(self._file, before):
                raise _held(self._file, _read(self._descriptor) or before)
            self.taken_from = before
        self._write(self._mine)
        self._thread.start()

    def _locked(self) -> bool:
        """Whoever asks for the holder has the lock for a moment: that is no reason to give up."""
        for _ in range(_TRIES):
            if _lock(self._descriptor, fcntl.LOCK_EX):
                return True
            time.sleep(_MOMENT_S)
        return False

    def give_back(self) -> None:
        """Let the next driver have it at once."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
            if not self.is_lost:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            # A file system that is gone for a while is no reason to stop: the records would say so.
            with contextlib.suppress(OSError):
                now = _read(self._descriptor)
                if now is not None and now.token != self._mine.token:
                    self.is_lost = True
                    return
                self._mine = replace(self._mine, beat=self._mine.beat + 1)
                self._write(self._mine)

    def _write(self, holder: Holder) -> None:
        # In place, as the lock is the file's, and in one call: readers see one state or the other.
        text = json.dumps(asdict(holder)).encode()
        os.pwrite(self._descriptor, text.ljust(512), 0)


@contextmanager
def lease(file: Path) -> Iterator[Lease]:
    """Hold a sweep's lease.

    Raises:
        UsageError: another driver holds it.
        EnvironmentUnusable: the folder cannot be written.
    """
    try:
        held = Lease(file)
    except OSError as error:
        raise EnvironmentUnusable(f"the sweep's folder {file.parent} must be writable: {error.strerror}") from error
    try:
        held.take()
        yield held
    finally:
        held.give_back()


def holder_of(file: Path) -> Holder | None:
    """Who drives the sweep of this lease now; None where nobody does, as far as can be seen at once.

    A holder on another host whose locks are not passed on counts while its last sign of life is not older
    than a minute by the file server's clock and ours.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return None
    try:
        holder = _read(descriptor)
        if not _lock(descriptor, fcntl.LOCK_SH):
            return holder
        elsewhere = holder is not None and holder.host != socket.gethostname()
        return holder if elsewhere and time.time() - os.fstat(descriptor).st_mtime < 60 else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    """Whether nobody else has it. A file system without locks has them for everybody."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lives(file: Path, holder: Holder) -> bool:
    """Whether the file's holder gives a sign of life while it is watched."""
    until = time.monotonic() + WATCH_S
    while time.monotonic() < until:
        time.sleep(BEAT_S / 4)
        # Opened anew: network file systems look again at what is in a file when it is opened.
        with file.open("rb") as opened:
            now = _read(opened.fileno())
        if now is None:
            return False
        if (now.token, now.beat) != (holder.token, holder.beat):
            return True
    return False


def _read(descriptor: int) -> Holder | None:
    """None of an empty file: it was given back, or never held."""
    try:
        found: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(**found)
    except (ValueError, TypeError):
        return None


def _held(file: Path, holder: Holder | None) -> UsageError:
    who = f"by {holder}" if holder else "by another process"
    return UsageError(
        f"a sweep has one driver at a time: {file.parent.name} is driven {who}; wait for it, or stop it with Ctrl-C or "
        "SIGTERM, and then resume"
    )
