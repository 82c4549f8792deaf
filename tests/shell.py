"""Runs the command line as a user does, in a folder of its own, with a Ray of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.folder import SweepFolder, list_sweeps

__all__ = ["TORCH_HOME", "Done", "Shell"]

TORCH_HOME = Path(__file__).resolve().parents[2] / "shared" / "assets" / "torch"
"""Official torchvision weights, where a machine has them."""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands in a folder of its own, with a Ray of its own."""

    def __init__(self, folder: Path, ray_folder: Path, cache: Path) -> None:
        self.folder = folder
        self.storage = folder / "sweeps"
        self.ray_folder = ray_folder
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))},
            "RAY_TMPDIR": str(ray_folder),
            "ORCHESTRATOR_CACHE": str(cache),
            "TORCH_HOME": str(TORCH_HOME if TORCH_HOME.is_dir() else cache / "torch"),
        }

    def write(self, config: dict[str, Any]) -> str:
        file = self.folder / f"{config['name']}.yaml"
        file.write_text(yaml.safe_dump(config))
        return str(file)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, timeout_s: float = 240) -> Done:
        begin = time.perf_counter()
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Done(process.returncode, out, err, time.perf_counter() - begin)

    def here(self, *arguments: str) -> Done:
        """The same in this process, which has imported most of it: for commands that start no Ray."""
        out, err = io.StringIO(), io.StringIO()
        begin = time.perf_counter()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            for name, value in self.env.items():
                patch.setenv(name, value)
            code = main(list(arguments))
        return Done(code, out.getvalue(), err.getvalue(), time.perf_counter() - begin)

    def sweep(self) -> SweepFolder:
        """The only one."""
        [folder] = list_sweeps(self.storage)
        return folder

    def num_workers(self) -> int:
        """Processes that trained, as Ray's own logs name them."""
        logs = self.ray_folder.glob("ray/session_2*/logs/worker-*.out")
        return sum(":actor_name:" in log.read_text(errors="replace") for log in logs)
