"""A command as its user sees it: behind a pseudo-terminal, whose screen is kept whenever it has changed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyte

__all__ = ["Seen", "watch"]

_SETTLED_S = 0.05
"""Without output for so long, a redraw is complete."""


@dataclass(frozen=True)
class Seen:
    """What a terminal showed."""

    code: int
    frames: list[list[str]]
    """Screens, line by line without the blanks at their ends, in their order."""
    first_s: float
    """Until the first character was there."""
    raw: str
    """All that was written, escapes included."""

    @property
    def last(self) -> list[str]:
        """The screen when the command had ended."""
        return self.frames[-1]


def watch(
    *arguments: str, folder: Path, env: Mapping[str, str], width: int, height: int = 24, timeout_s: float = 480
) -> Seen:
    """Run ``python -m orchestrator`` to its end."""
    driver, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env={**{name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        return _follow(process, driver, begin, width, height, timeout_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        process.wait()
        os.close(driver)


def _follow(
    process: subprocess.Popen[bytes], driver: int, begin: float, width: int, height: int, timeout_s: float
) -> Seen:
    screen = pyte.Screen(width, height)
    stream = pyte.ByteStream(screen)
    frames: list[list[str]] = []
    raw, first_s = b"", 0.0
    while time.perf_counter() - begin < timeout_s:
        ready, _, _ = select.select([driver], [], [], _SETTLED_S)
        if not ready:
            _keep(screen, frames)
            if process.poll() is not None:
                return Seen(process.returncode, frames, first_s, raw.decode(errors="replace"))
            continue
        try:
            read = os.read(driver, 65536)
        except OSError:  # the last one who held the terminal is gone
            read = b""
        if not read:
            _keep(screen, frames)
            return Seen(process.wait(timeout=60), frames, first_s, raw.decode(errors="replace"))
        first_s = first_s or time.perf_counter() - begin
        raw += read
        stream.feed(read)
    raise TimeoutError(f"no end within {timeout_s} s; the screen:\n" + "\n".join(screen.display))


def _keep(screen: pyte.Screen, frames: list[list[str]]) -> None:
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    if lines and (not frames or frames[-1] != lines):
        frames.append(lines)
