"""What is handed to a worker: one run of one study, as a value that travels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from trainables.config import FinetuneConfig, TaskSpec
from trainables.evaluation import Evaluation
from trainables.execution import Execution

__all__ = ["SEARCHED", "Phase", "RunRequest", "study_key", "tuned_blocks"]

Phase = Literal["random", "tpe", "thompson", "confirmation", "reduced"]

SEARCHED: Final = frozenset({"random", "tpe", "thompson"})
"""Phases of what is chosen from. The others train the configuration that was chosen."""


def study_key(task: str, backbone: str) -> str:
    """Name of the study of `backbone` on `task`."""
    return f"{task}:{backbone}"


def tuned_blocks(config: FinetuneConfig, num_blocks: int) -> tuple[int, int]:
    """First tuned block and the one after the last: both `num_blocks` for a linear probe."""
    return config.tune_window or (config.freeze_depth, num_blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """One trial, confirmation or reduced run."""

    number: int
    """Unique in its study; confirmations follow the trials, and runs on fewer samples the confirmations."""

    phase: Phase
    task: TaskSpec
    config: FinetuneConfig
    execution: Execution = field(default_factory=Execution)
    """How it is computed; its result is the same."""

    train_frac: float = 1.0
    """Share of the training split that is trained on, in (0, 1]; smaller ones are part of larger ones."""

    evaluation: Evaluation | None = None
    """What is measured of a confirmation beyond its score; None is nothing."""

    model_folder: str | None = None
    """Where the worker leaves the trained network of a confirmation; None keeps it not."""

    num_sharing: int = 1
    """How many runs of the study are expected to freeze the same leading blocks: a cache serves them all."""

    companions: tuple[FinetuneConfig, ...] = ()
    """Of a linear probe: all that may be trained together with it, itself included, the same for each of
    them; empty where it has none."""

    num_threads: int
    """Of torch and BLAS in the worker: the CPUs that Ray granted it."""

    epoch_timeout_s: float | Literal["auto"] | None = "auto"
    """Seconds that an epoch may take; see `orchestrator.config.Resources`."""

    test_file: str
    """Where the worker leaves what the test split says; nobody who searches reads it. Of a later attempt another
    file than of the first: a worker that was given up, and yet lives, cannot overwrite what counts."""

    attempt: int = 1
    """How often this run has been handed out, this time included."""

    num_known_epochs: int = 0
    """Epochs of earlier attempts that are recorded already."""

    @property
    def study(self) -> str:
        return study_key(self.task.name, self.config.backbone)

    def to_tune(self) -> dict[str, Any]:
        """The nested dictionary that Ray Tune calls a config."""
        return {"study": self.study, **asdict(replace(self, companions=())), "companions": self._companions_text()}

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `to_tune`; other keys are left alone."""
        return cls(
            number=config["number"],
            phase=config["phase"],
            task=TaskSpec(**config["task"]),
            config=FinetuneConfig(**config["config"]),
            execution=Execution(**config["execution"]),
            train_frac=config["train_frac"],
            evaluation=None if config["evaluation"] is None else Evaluation(**config["evaluation"]),
            model_folder=config["model_folder"],
            num_sharing=config["num_sharing"],
            companions=tuple(
                FinetuneConfig(**{**config["config"], **other}) for other in json.loads(config["companions"])
            ),
            num_threads=config["num_threads"],
            epoch_timeout_s=config["epoch_timeout_s"],
            test_file=config["test_file"],
            attempt=config["attempt"],
            num_known_epochs=config["num_known_epochs"],
        )

    def _companions_text(self) -> str:
        """What they have of their own. One text: Tune copies a config with every result, value by value."""
        mine = asdict(self.config)
        own = [
            {name: value for name, value in asdict(other).items() if value != mine[name]} for other in self.companions
        ]
        return json.dumps(own)

    def again(self, attempt: int, *, num_known_epochs: int) -> Self:
        """The same run for another worker, with files of its own where it is not the first attempt."""
        own = self.checkpoint_folder.with_suffix(".json")
        file = own if attempt == 1 else own.with_stem(f"{own.stem}-{attempt}")
        return replace(self, attempt=attempt, num_known_epochs=num_known_epochs, test_file=str(file))

    @property
    def checkpoint_folder(self) -> Path:
        """Where all attempts leave their training's state, and find it."""
        file = Path(self.test_file)
        return file.with_name("-".join(file.stem.split("-")[:2]))

    @property
    def error_file(self) -> Path:
        """Where the worker leaves the traceback of an error it cannot report."""
        return Path(self.test_file).with_suffix(".error.txt")

    @property
    def hung_file(self) -> Path:
        """Where its watchdog leaves what the worker was at when its time ran out."""
        return Path(self.test_file).with_suffix(".hung.txt")
