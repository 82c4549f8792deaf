"""The command that does one run of a sweep again, alone: without Ray, Optuna, MLflow or the sweep."""

from __future__ import annotations

from typing import Final

from orchestrator.config import SweepConfig
from orchestrator.workers.request import Phase
from trainables.command_line import arguments
from trainables.config import FinetuneConfig, TaskSpec
from trainables.evaluation import Evaluation

__all__ = ["alone", "task_of"]

_PROGRAM: Final = ("python", "-m", "trainables")


def alone(
    config: SweepConfig,
    run: FinetuneConfig,
    *,
    task: str,
    phase: Phase,
    train_frac: float = 1.0,
    device: str | None = None,
) -> tuple[str, ...] | None:
    """The words of the command, or None where the sweep's file has no such task.

    On the same device and with the same versions it trains to the same numbers: those of a linear probe, which a
    sweep trains with others in one matrix product, and those behind a cache of activations up to rounding in fp32.
    A run that was stopped goes on to its last epoch.

    Args:
        config: of the sweep.
        run: what was trained.
        train_frac: share of the training split that it was given.
        device: as its row of TRIALS has it; None of a run that no worker has told of.
    """
    spec = task_of(config, task)
    if spec is None:
        return None
    evaluation = config.evaluation if phase == "confirmation" else None
    words = [*_PROGRAM, *arguments(run, spec, config.execution, evaluation or Evaluation())]
    if train_frac < 1:
        words += ["--reduced-frac", repr(train_frac)]
    if evaluation is not None:
        words.append("--evaluate")
    words += ["--num-threads", str(config.resources.cpus_per_trial)]
    if device == "cpu":
        words += ["--device", "cpu"]  # there may be a GPU where this is typed
    return tuple(words)


def task_of(config: SweepConfig, name: str) -> TaskSpec | None:
    """The task of this name."""
    return next((task for task in config.tasks if task.name == name), None)
