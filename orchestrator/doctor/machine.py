"""Memory, shared memory and open files of this machine."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.doctor.finding import Finding, broken, ok, skipped, warning
from orchestrator.doctor.subject import Subject
from trainables.cores import num_cores

__all__ = ["memory", "open_files", "shared_memory"]

GIB: Final = 2**30
WORKER_BYTES: Final = GIB
"""What a trial's process takes before its model: Python, torch and Ray are about half of it."""

DRIVER_BYTES: Final = GIB
_MIN_SHARED: Final = GIB
_MIN_FILES: Final = 4096
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")
_SHM: Final = Path("/dev/shm")


def memory(subject: Subject) -> Iterator[Finding]:
    """Whether the driver and as many trials as this machine has room for fit into memory."""
    available = available_bytes()
    if available is None:
        yield skipped("memory", f"{_MEMINFO} does not say")
        return
    resources = subject.config.resources
    here = subject.address is None  # else trials are elsewhere
    most = max(1, num_cores() // resources.cpus_per_trial)
    trials = (most if resources.max_concurrent == "auto" else min(most, resources.max_concurrent)) if here else 0
    wanted = DRIVER_BYTES + trials * WORKER_BYTES
    text = f"{available / GIB:.1f} GiB available"
    if available < DRIVER_BYTES + (WORKER_BYTES if here else 0):
        need = (DRIVER_BYTES + WORKER_BYTES) / GIB
        yield broken(
            "memory", f"{text}, and one trial needs about {need:.0f}", "end other programs, or take a larger machine"
        )
    elif available < wanted:
        fits = int((available - DRIVER_BYTES) // WORKER_BYTES)
        yield warning(
            "memory",
            f"{text}, and {trials} trials at a time need {wanted / GIB:.0f} or more",
            f"--set resources.max_concurrent={fits}",
        )
    else:
        yield ok("memory", f"{text}, {trials} trials at a time" if here else text)


def available_bytes() -> int | None:
    """What programs may still take of this machine, or of the container they are in; None where nobody says."""
    lines = _MEMINFO.read_text(encoding="utf-8").splitlines() if _MEMINFO.is_file() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    left = None if limit is None or used is None else limit - used
    known = [number for number in (free, left) if number is not None]
    return min(known) if known else None


def _number(file: Path) -> int | None:
    """In a file of the kernel; None for ``max``, or where there is no such file."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def shared_memory(subject: Subject) -> Iterator[Finding]:
    """Where Ray keeps objects. Containers have 64 MiB unless told otherwise."""
    if not _SHM.is_dir():
        yield skipped("shared memory", f"this system has no {_SHM}")
        return
    free = shutil.disk_usage(_SHM).free
    text = f"{free / GIB:.2g} GiB free in {_SHM}"
    if free < _MIN_SHARED:
        fix = "of a container: docker run --shm-size=2g; else: mount -o remount,size=2G /dev/shm"
        yield warning("shared memory", f"{text}: Ray keeps objects on the disk instead, which is slower", fix)
    else:
        yield ok("shared memory", text)


def open_files(subject: Subject) -> Iterator[Finding]:
    """How many files a process may have open. Ray raises its own limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = float("inf") if hard == resource.RLIM_INFINITY else hard
    if most < _MIN_FILES:
        text = f"at most {hard} per process, and Ray's daemons with many trials need {_MIN_FILES}"
        yield warning("open files", text, "as root: ulimit -Hn 65536; or raise nofile in /etc/security/limits.conf")
    else:
        yield ok("open files", f"{soft} per process, {'any number' if most == float('inf') else hard} if asked for")
