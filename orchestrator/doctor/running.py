"""Runs checks beside each other. None waits for another, none can end another, and none can hang the report."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.doctor.finding import Finding, broken
from orchestrator.doctor.subject import Subject

__all__ = ["Check", "run_checks", "run_here"]

_BREAK_S: Final = 0.05
_REPORT: Final = "please report it, with this line"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that is looked at."""

    name: str
    look: Callable[[Subject], Iterable[Finding]]
    timeout_s: float = 30.0
    apart: bool = False
    """In a process of its own: what loads a large library or starts others may die, or never return."""


def run_here(check: Check, subject: Subject, give: Callable[[Finding], None]) -> None:
    """Run a check in this thread and hand over each finding at once; what it raises is a finding, too."""
    try:
        for finding in check.look(subject):
            give(finding)
    except Exception as error:
        give(_crash(check.name, error))


def _crash(name: str, error: Exception) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return broken(name, f"the check itself failed: {type(error).__name__}: {error}{where}", _REPORT)


def run_checks(checks: Sequence[Check], subject: Subject) -> list[Finding]:
    """Findings of all `checks`, in their order. What takes longer than a check's time-out is broken."""
    found: queue.Queue[tuple[str, Finding | None]] = queue.Queue()
    processes: list[subprocess.Popen[str]] = []
    for check in checks:
        # Daemons: one that hangs, as on a dead network file system, must not keep the program from ending.
        target = _run_apart if check.apart else _run_in_thread
        threading.Thread(target=target, args=(check, subject, found, processes), daemon=True).start()
    try:
        gathered = dict(_gather(checks, found))
    finally:
        for process in processes:
            _end(process)
    return [finding for check in checks for finding in gathered[check.name]]


def _gather(
    checks: Sequence[Check], found: queue.Queue[tuple[str, Finding | None]]
) -> Iterator[tuple[str, list[Finding]]]:
    begin = time.monotonic()
    waiting = {check.name: check.timeout_s for check in checks}
    gathered: dict[str, list[Finding]] = {check.name: [] for check in checks}
    while waiting:
        with suppress(queue.Empty):
            name, finding = found.get(timeout=_BREAK_S)
            if name not in waiting:  # too late
                continue
            if finding is not None:
                gathered[name].append(finding)
                continue
            del waiting[name]
            yield name, gathered[name]
            continue
        late = [name for name, timeout_s in waiting.items() if time.monotonic() - begin > timeout_s]
        for name in late:
            text = f"no answer within {waiting.pop(name):g} s"
            yield name, [*gathered[name], broken(name, text, "see what it waits for: a network, a disk, a server")]


def _run_in_thread(
    check: Check,
    subject: Subject,
    found: queue.Queue[tuple[str, Finding | None]],
    processes: list[subprocess.Popen[str]],
) -> None:
    run_here(check, subject, lambda finding: found.put((check.name, finding)))
    found.put((check.name, None))


def _run_apart(
    check: Check,
    subject: Subject,
    found: queue.Queue[tuple[str, Finding | None]],
    processes: list[subprocess.Popen[str]],
) -> None:
    """The same in a process of its own; what it had found before it died is kept."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.doctor", check.name, f"{check.timeout_s:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError), process.stdin:
            process.stdin.write(json.dumps(asdict(subject)))
        for line in process.stdout:
            with suppress(ValueError, TypeError):  # what a library prints
                found.put((check.name, Finding(**json.loads(line))))
        code = process.wait()
        if code:
            errors.seek(0)
            found.put((check.name, _death(check.name, code, errors.read())))
    found.put((check.name, None))


def _death(name: str, code: int, errors: str) -> Finding:
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    last = (errors.strip().splitlines() or ["it said nothing"])[-1]
    return broken(name, f"the process that tried it {how}: {last}", _REPORT)


def _end(process: subprocess.Popen[str]) -> None:
    """With all it started. Ray's daemons have sessions of their own, and go when who started them is gone."""
    with suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def subject_of(document: Mapping[str, Any]) -> Subject:
    """The inverse of ``asdict``, after a journey through JSON."""
    return Subject(**{**document, "overrides": tuple(document["overrides"])})
