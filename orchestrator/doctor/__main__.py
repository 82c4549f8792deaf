"""One check in a process of its own: its name and time-out are arguments, the subject is JSON on stdin.

Each finding is one line of JSON on what was stdout; what libraries print goes to stderr.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from dataclasses import asdict

from orchestrator.doctor.checks import CHECKS
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.running import run_here, subject_of


def _main() -> None:
    name, timeout_s = sys.argv[1:]
    signal.alarm(math.ceil(float(timeout_s)) + 5)  # where nobody is left who would end it
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def give(finding: Finding) -> None:
        print(json.dumps(asdict(finding)), file=lines, flush=True)

    run_here(next(check for check in CHECKS if check.name == name), subject_of(json.load(sys.stdin)), give)
    os._exit(0)  # unloading torch and Ray piece by piece would take a second


if __name__ == "__main__":
    _main()
