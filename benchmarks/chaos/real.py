"""The real worker with a log of its epochs, and one that goes wrong on purpose."""

from __future__ import annotations

import os
import signal
import time
from enum import IntEnum

from benchmarks.chaos.epoch_log import log_epoch
from benchmarks.chaos.victim import EPOCH_S
from orchestrator.workers.request import RunRequest
from orchestrator.workers.worker import FinetuneWorker
from trainables.config import EpochMetrics
from trainables.errors import Diverged, InvalidConfig

__all__ = ["LoggedWorker", "Sabotage", "SabotagedWorker"]


class LoggedWorker(FinetuneWorker):
    """Fine-tunes, and says of every epoch that it was trained before it is saved or told."""

    def _load(self) -> None:
        super()._load()
        run, request = self._trained, self._request
        train = run.train_epoch

        def train_and_log() -> EpochMetrics:
            time.sleep(float(os.environ.get(EPOCH_S, "0")))
            metrics = train()
            log_epoch(request.study, request.number, request.attempt, metrics.epoch)
            return metrics

        vars(run)["train_epoch"] = train_and_log


class Sabotage(IntEnum):
    """Numbers of the trials that go wrong, by what happens to them."""

    KILLED_ONCE = 1
    """Its worker is killed after its second epoch was saved, and before it is told."""

    ALWAYS_KILLED = 2
    """Its worker is killed in its second epoch, every time."""

    REFUSES = 3
    """An error of the configuration's own, which no other worker would fare better with."""

    DIVERGES = 4
    HANGS = 5
    """In its second epoch."""

    RAISES_AT_FIRST = 6
    """What may be a worker's own misfortune, once, at its start."""


class SabotagedWorker(LoggedWorker):
    """`LoggedWorker`, but for the trials of `Sabotage`."""

    def _load(self) -> None:
        if self._request.number == Sabotage.RAISES_AT_FIRST and self._request.attempt == 1:
            raise RuntimeError("no luck")
        super()._load()
        train = self._trained.train_epoch

        def train_or_not() -> EpochMetrics:
            self._before(self._request, self._trained.epoch + 1)
            return train()

        vars(self._trained)["train_epoch"] = train_or_not

    def _keep(self) -> None:
        super()._keep()
        if self._request.number == Sabotage.KILLED_ONCE and self._request.attempt == 1 and self._trained.epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def _before(self, request: RunRequest, epoch: int) -> None:
        match request.number, epoch:
            case Sabotage.ALWAYS_KILLED, 2:
                os.kill(os.getpid(), signal.SIGKILL)
            case Sabotage.REFUSES, 2:
                raise InvalidConfig("a rule that this configuration breaks")
            case Sabotage.DIVERGES, 2:
                raise Diverged("train loss is nan in epoch 2")
            case Sabotage.HANGS, 2:
                time.sleep(3600)
