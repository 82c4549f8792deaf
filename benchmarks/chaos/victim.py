"""A sweep as its user starts, loses and resumes it: by commands, on a real Ray, with real records."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import yaml

from benchmarks.chaos.processes import MARK, Process, marked, stop_marked, wait_until
from orchestrator.folder import SweepFolder, list_sweeps

__all__ = ["EPOCH_LOG", "EPOCH_S", "WORKER", "Driver", "TrainedEpoch", "Victim", "WorkerKind"]

EPOCH_LOG: Final = "CHAOS_EPOCH_LOG"
"""Environment variable: the file that workers add a line to for every epoch they have trained."""

WORKER: Final = "CHAOS_WORKER"
"""Environment variable: which worker trains."""

EPOCH_S: Final = "CHAOS_EPOCH_S"
"""Environment variable: seconds that every epoch takes, of a ``real`` worker on top of its own."""

WorkerKind = Literal["made_up", "real", "sabotaged"]
"""``made_up`` computes a number per epoch, in a second less of imports; ``real`` fine-tunes; ``sabotaged`` is a
``made_up`` one of which some trials go wrong, see `benchmarks.chaos.made_up`."""

_ROOT: Final = Path(__file__).resolve().parents[2]


class TrainedEpoch(NamedTuple):
    """A line of the log of epochs: what was truly trained, whoever came to know of it."""

    study: str
    number: int
    attempt: int
    epoch: int
    pid: int
    at: float
    """Seconds of the wall clock."""


class Driver:
    """One life of a driver."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def send(self, number: int) -> None:
        """A signal, to the driver alone."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and nothing else ends what it had started."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def wait(self, timeout_s: float = 600.0) -> int:
        """Its exit code.

        Raises:
            AssertionError: it does not end in time; its output is in the message.
        """
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the driver did not end within {timeout_s:g} s:\n{self.err}") from None


class Victim:
    """A sweep in a folder of its own with a Ray of its own. A context: nothing of it is left at the end.

    Args:
        folder: for the sweep file, the storage and logs; it must exist.
        config: of the sweep, without its storage.
        environment: variables on top of this process's own; of those Ray's and MLflow's are left out.
        storage: None is ``sweeps`` in `folder`.
        address: of a Ray cluster to join; None starts a local Ray with every driver.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        worker: WorkerKind = "made_up",
        environment: Mapping[str, str] | None = None,
        storage: Path | None = None,
        address: str | None = None,
    ) -> None:
        self.folder = folder
        self.config = dict(config)
        self.storage = storage or folder / "sweeps"
        self.mark = uuid.uuid4().hex
        self.num_lives = 0
        self.first_row_s = 6.0
        """From a driver's start to its first row, as the last life has shown that came so far; at first a guess."""

        self.file = folder / f"{config['name']}.yaml"
        self.file.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        self._log = folder / "epochs.log"
        self.address = address
        # Ray puts sockets there, whose paths may hold 107 characters.
        self.ray_folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))},
            "RAY_TMPDIR": str(self.ray_folder),
            "ORCHESTRATOR_CACHE": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")])),
            "OMP_NUM_THREADS": "1",
            MARK: self.mark,
            EPOCH_LOG: str(self._log),
            WORKER: worker,
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        stop_marked(self.mark)
        shutil.rmtree(self.ray_folder, ignore_errors=True)

    def set_epoch_s(self, seconds: float) -> None:
        """How long epochs take in the lives that follow."""
        self.environment[EPOCH_S] = str(seconds)

    def start(self, *arguments: str) -> Driver:
        """The sweep's first life."""
        return self.run("sweep", str(self.file), *arguments)

    def resume(self, *arguments: str) -> Driver:
        """Another life: of the sweep where there is one, else the first one again."""
        if self.sweeps:
            return self.run("resume", self.sweep.sweep_id, *arguments)
        return self.start(*arguments)

    def run(self, command: str, *arguments: str) -> Driver:
        """Any command that starts a driver."""
        self.num_lives += 1
        out, err = (self.folder / f"{self.num_lives:03d}.{name}" for name in ("out", "err"))
        order = [sys.executable, "-m", "benchmarks.chaos.launcher", command, *arguments]
        order += ["--storage", str(self.storage), *(["--address", self.address] if self.address else [])]
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                order,
                cwd=self.folder,
                env=self.environment,
                stdout=out_file,
                stderr=err_file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return Driver(process, out, err)

    @property
    def sweeps(self) -> list[SweepFolder]:
        return list_sweeps(self.storage)

    @property
    def sweep(self) -> SweepFolder:
        """The only one."""
        [folder] = self.sweeps
        return folder

    @property
    def num_rows(self) -> int:
        """Runs that have ended, as far as the records know."""
        return sum(len(folder.trials.read()) for folder in self.sweeps)

    def wait_for_epoch(self, driver: Driver, num: int = 1) -> None:
        """Until so many more epochs have been recorded.

        Raises:
            AssertionError: they were not, in time or before the driver's end.
        """
        before = self.num_epochs
        reached = wait_until(lambda: self.num_epochs >= before + num or not driver.is_alive, 300)
        assert driver.is_alive, f"the driver ended with {driver.process.returncode}:\n{driver.err}"
        assert reached, f"no epoch in time:\n{driver.err}"

    @property
    def num_epochs(self) -> int:
        """Recorded so far."""
        return sum(len(folder.epochs.read()) for folder in self.sweeps)

    @property
    def processes(self) -> list[Process]:
        """All of its processes that are alive, but for those of Ray's that only wait for their own end."""
        return [process for process in marked(self.mark) if not process.is_agent]

    @property
    def epochs(self) -> list[TrainedEpoch]:
        """What workers have trained, in the order in which they said so."""
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        return [TrainedEpoch(*json.loads(line)) for line in lines]
