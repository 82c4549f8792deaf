"""Seconds until a person sees something: ``--help``, ``sweep --plan``, and the first trial of a sweep."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.machine import machine

__all__ = ["main"]

ORCHESTRATOR = (sys.executable, "-m", "orchestrator")


def _seconds(*arguments: str, repeat: int = 5) -> float:
    """Best of a few, the files in the page cache."""
    best = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        subprocess.run([*ORCHESTRATOR, *arguments], check=True, capture_output=True)
        best = min(best, time.perf_counter() - started)
    return best


def _first_trial() -> dict[str, float]:
    """From the command to its first finished run, of which the run itself took `duration_s`."""
    with tempfile.TemporaryDirectory() as storage:
        budget = ("trials=1", "random_trials=1", "max_epochs=1", "grace_epochs=1")
        small = (*(f"budget.{value}" for value in budget), "confirmation.seeds=1")
        overrides = [part for value in small for part in ("--set", value)]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*ORCHESTRATOR, "sweep", "--storage", storage, *overrides],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert process.stderr is not None
        first_line = first_run = float("nan")
        for line in process.stderr:
            now = time.perf_counter() - started
            first_line = min(now, first_line) if first_line == first_line else now
            if line.startswith("[") and first_run != first_run:
                first_run = now
        if process.wait():
            raise SystemExit(f"the sweep failed with exit code {process.returncode}")
        return {
            "first_line_s": first_line,
            "first_run_done_s": first_run,
            "all_s": time.perf_counter() - started,
        }


def main() -> None:
    result: dict[str, Any] = {
        "machine": machine(),
        "help_s": _seconds("--help"),
        "plan_s": _seconds("sweep", "--plan"),
        "sweep": _first_trial(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
