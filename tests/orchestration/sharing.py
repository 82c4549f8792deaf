"""A worker and a measurement for GPUs that are not there. In a module of its own, as Ray's processes import it."""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from quick_worker import QuickWorker

from trainables.config import FinetuneConfig, TaskSpec
from trainables.execution import Execution

__all__ = ["SharingWorker", "broken_study", "measure_some"]

GIB = 2**30
PATIENCE_S = 100.0


class SharingWorker(QuickWorker):
    """Leaves what it was given and when. Small ones wait for each other, until two have met on a GPU."""

    def step(self) -> dict[str, Any]:
        started, gpus = time.time(), self.trial_resources.required_resources["GPU"]
        if gpus < 1:
            self._meet()
        row = {
            "study": self._request.study,
            "gpus": gpus,
            "device": ray.get_gpu_ids(),
            "pid": os.getpid(),
            "started": started,
            "ended": time.time(),
        }
        Path(self._request.test_file).with_suffix(".seen").write_text(json.dumps(row))
        return super().step()

    def _meet(self) -> None:
        folder = Path(self._request.test_file).parent
        here = folder / f"{os.getpid()}.on-{ray.get_gpu_ids()}"
        here.touch()
        deadline = time.time() + PATIENCE_S
        while not (folder / "met").exists() and time.time() < deadline:
            if len(list(folder.glob(f"*{glob.escape(here.suffix)}"))) >= 2:
                (folder / "met").touch()
            time.sleep(0.05)
        here.unlink()


def measure_some(
    spec: TaskSpec, backbone: str, configs: Sequence[FinetuneConfig], execution: Execution, num_threads: int
) -> dict[str, Any]:
    """As if a GPU had 80 GiB, of which the untrained backbone takes 70 and the other 15."""
    num_bytes = (70 if backbone.endswith("@random") else 15) * GIB
    return {"total_bytes": 80 * GIB, "peaks": [num_bytes for _ in configs]}


def broken_study(*_: Any) -> dict[str, Any]:
    """What a study answers that no run can be trained of."""
    return {"error": "execution.compile needs a C++ compiler"}
