"""What workers truly trained: a line for every epoch, in a file that all of them only add to."""

from __future__ import annotations

import json
import os
import time

from benchmarks.chaos.victim import EPOCH_LOG, TrainedEpoch

__all__ = ["log_epoch"]


def log_epoch(study: str, number: int, attempt: int, epoch: int) -> None:
    """Say that an epoch was trained, before anybody else is told. One write of one line is never torn."""
    line = json.dumps(TrainedEpoch(study, number, attempt, epoch, os.getpid(), time.time())) + "\n"
    descriptor = os.open(os.environ[EPOCH_LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
