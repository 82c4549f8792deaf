"""What a command costs with everything it starts: wall, CPU and memory of its tree of processes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Usage", "run_measured"]

POLL_S = 0.25
MEMORY_EVERY = 12
"""Polls. Summing up shared pages walks every mapping: often enough to see a trial, too rarely to slow it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Of a command and of all its descendants, for as long as they descend from it."""

    wall_s: float
    cpu_s: float
    """User and system time. What a process does in its last quarter of a second may be missed."""

    peak_memory_mib: float
    """Largest sum of proportional set sizes: a page that several processes share counts once."""

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def run_measured(command: Sequence[str], *, environment: Mapping[str, str]) -> Usage:
    """Run `command`, its stdout on this process's stderr, and measure its tree.

    Args:
        environment: variables on top of this process's own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    importlib.import_module("ray")  # brings psutil along
    psutil = importlib.import_module("psutil")
    cpu: dict[tuple[int, float], float] = {}
    peak = 0.0
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr, env={**os.environ, **environment})
    root = psutil.Process(process.pid)
    for poll in range(sys.maxsize):
        try:
            process.wait(POLL_S)
            break
        except subprocess.TimeoutExpired:
            tree = _tree(psutil, root)
            cpu |= _cpu_seconds(psutil, tree)
            if poll % MEMORY_EVERY == 0:
                peak = max(peak, sum(_proportional_mib(psutil, member) for member in tree))
    wall_s = time.perf_counter() - started
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Usage(wall_s=wall_s, cpu_s=sum(cpu.values()), peak_memory_mib=peak)


def _tree(psutil: Any, root: Any) -> list[Any]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(psutil: Any, tree: Sequence[Any]) -> dict[tuple[int, float], float]:
    """By process: its number alone may be given again."""
    seconds = {}
    for process in tree:
        try:
            times = process.cpu_times()
            seconds[process.pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue  # ended since it was listed: what it had spent at the last poll stands
    return seconds


def _proportional_mib(psutil: Any, process: Any) -> float:
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0
