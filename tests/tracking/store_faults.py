"""Ways in which a SQLite store breaks while a sweep is written to it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest

__all__ = ["DatabaseDeleted", "DiskFull", "ExperimentDeleted", "Fault", "NoPlaceForFiles"]


class Fault:
    """Something that goes wrong with a SQLite store while a sweep is written to it, and is put right."""

    words: ClassVar[str]
    """In what is said of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """From the beginning."""

    def strike(self) -> None:
        """In the middle."""

    def mend(self) -> None:
        """Before the records are replayed."""

    def clear(self) -> None:
        """At the end, whatever happened."""


class DatabaseDeleted(Fault):
    words = "is gone"

    def strike(self) -> None:
        shutil.move(self.folder / "mlflow.db", self.folder / "kept.db")

    def mend(self) -> None:
        shutil.copyfile(self.folder / "kept.db", self.folder / "mlflow.db")


class ExperimentDeleted(Fault):
    words = "mlflow experiments restore --experiment-id"

    def strike(self) -> None:
        self._client.delete_experiment(self._experiment_id)

    def mend(self) -> None:
        self._client.restore_experiment(self._experiment_id)

    @property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{self.folder}/mlflow.db")

    @property
    def _experiment_id(self) -> str:
        return str(self._client.get_experiment_by_name("adapt/digits").experiment_id)


class NoPlaceForFiles(Fault):
    words = "records were refused, the first: configuration of digits"

    def start(self) -> None:
        (self.folder / "mlartifacts").touch()

    def mend(self) -> None:
        (self.folder / "mlartifacts").unlink()


class DiskFull(Fault):
    words = "full"

    def start(self) -> None:
        mounted = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(self.folder)]
        content = (self.folder / "mlflow.db").read_bytes()
        if shutil.which("mount") is None or subprocess.run(mounted, capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted here")
        (self.folder / "mlflow.db").write_bytes(content)

    def strike(self) -> None:
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"0" * 512)

    def mend(self) -> None:
        (self.folder / "filler").unlink()

    def clear(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True)
