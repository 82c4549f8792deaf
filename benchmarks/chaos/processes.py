"""The processes of a sweep, wherever they went: all that inherited a mark in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["MARK", "Process", "marked", "stop_marked", "wait_until"]

MARK: Final = "CHAOS_MARK"
"""Environment variable that a victim's processes inherit. Ray's daemons outlive who started them and have no
parent then; their environment stays."""

_AGENTS: Final = ("dashboard/agent.py", "runtime_env/agent/main.py", "DashboardAgent", "RuntimeEnvAgent")
"""Two agents of Ray's look for their master for up to a minute after it is gone, and hold nothing of ours."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was alive when looked at."""

    pid: int
    command: str

    @property
    def is_agent(self) -> bool:
        return any(name in self.command for name in _AGENTS)

    @property
    def is_worker(self) -> bool:
        """Whether it holds a trial's actor, whose class Tune renames when it adds resources to it."""
        return self.command.startswith("ray::") and "IDLE" not in self.command


def marked(mark: str) -> list[Process]:
    """Every process whose environment holds `mark`, but for zombies."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        # A process that ends while it is looked at is none of ours any more.
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if state != "Z":
                    found.append(Process(int(entry.name), command))
    return found


def stop_marked(mark: str) -> None:
    """End whatever is left of a victim."""
    for process in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.05) -> bool:
    """Whether `condition` came true in time."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(every_s)
    return True
