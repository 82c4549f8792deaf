"""What is handed to a worker: one run of one study, as a value that travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from trainables.config import FinetuneConfig, TaskSpec

__all__ = ["Phase", "RunRequest", "study_key", "tuned_blocks"]

Phase = Literal["random", "tpe", "confirmation"]


def study_key(task: str, backbone: str) -> str:
    """Name of the study of `backbone` on `task`."""
    return f"{task}:{backbone}"


def tuned_blocks(config: FinetuneConfig, num_blocks: int) -> tuple[int, int]:
    """First tuned block and the one after the last: both `num_blocks` for a linear probe."""
    return config.tune_window or (config.freeze_depth, num_blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """One trial or confirmation to run."""

    number: int
    """Unique in its study; confirmations follow the trials."""

    phase: Phase
    task: TaskSpec
    config: FinetuneConfig
    num_threads: int
    """Of torch and BLAS in the worker: the CPUs that Ray granted it."""

    test_file: str
    """Where the worker leaves what the test split says; nobody who searches reads it."""

    @property
    def study(self) -> str:
        return study_key(self.task.name, self.config.backbone)

    def to_tune(self) -> dict[str, Any]:
        """The nested dictionary that Ray Tune calls a config."""
        return {"study": self.study, **asdict(self)}

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `to_tune`; other keys are left alone."""
        return cls(
            number=config["number"],
            phase=config["phase"],
            task=TaskSpec(**config["task"]),
            config=FinetuneConfig(**config["config"]),
            num_threads=config["num_threads"],
            test_file=config["test_file"],
        )

    @property
    def error_file(self) -> Path:
        """Where the worker leaves the traceback of an error it cannot report."""
        return Path(self.test_file).with_suffix(".error.txt")
