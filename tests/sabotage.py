"""Workers that go wrong on purpose. In a module of its own, as Ray's processes import it."""

from __future__ import annotations

import os
import signal
from typing import Any

from orchestrator.workers.request import RunRequest
from orchestrator.workers.worker import FinetuneWorker

__all__ = ["KILLED", "RAISES_AT_ITS_START", "RAISES_IN_AN_EPOCH", "SabotagedWorker"]

KILLED, RAISES_IN_AN_EPOCH, RAISES_AT_ITS_START = 6, 2, 3
"""Numbers of the trials that go wrong."""


class SabotagedWorker(FinetuneWorker):
    """The real one, but for three trials."""

    def step(self) -> dict[str, Any]:
        number = self._request.number
        if number == KILLED and self._trained.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step()

    def _epoch(self) -> dict[str, Any]:
        if self._request.number == RAISES_IN_AN_EPOCH:
            raise RuntimeError("no luck")
        return super()._epoch()

    def _begin(self, request: RunRequest) -> None:
        if request.number == RAISES_AT_ITS_START:
            request.error_file.write_text("Traceback ...\nMemoryError: no room\n")
            raise MemoryError("no room")
        super()._begin(request)
