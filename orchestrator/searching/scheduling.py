"""One set of ASHA rungs per study, behind the single scheduler that a Tuner takes.

Rungs shared by backbones would stop the slow starters and so decide the ranking before it is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from orchestrator.config import Budget
from orchestrator.workers.request import SEARCHED

__all__ = ["SCORE", "StudyScheduler"]

SCORE = "val_score"
"""The reported value that searches and stops: validation, never test."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # ray ships no types
    """Hands every trial to its study's own `AsyncHyperBandScheduler`.

    The random slice fills the rungs but is never stopped: it is the unbiased design that tuning curves
    are computed from. What follows the search stays outside the rungs altogether.
    """

    def __init__(self, studies: tuple[str, ...], budget: Budget) -> None:
        super().__init__()
        self._metric = SCORE
        self._max_epochs = budget.max_epochs
        self._rungs = {
            study: AsyncHyperBandScheduler(
                time_attr="epoch",
                metric=SCORE,
                mode="max",
                max_t=budget.max_epochs,
                grace_period=budget.grace_epochs,
                reduction_factor=budget.reduction_factor,
            )
            for study in studies
        }

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Nothing is left to the Tuner: metric and mode are this class's own."""
        return metric is None and mode is None

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._delegate(trial, lambda rungs, run: rungs.on_trial_add(tune_controller, run))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        decision = self._delegate(trial, lambda rungs, run: rungs.on_trial_result(tune_controller, run, result))
        stoppable = trial.config["phase"] == "tpe"
        return decision if stoppable and decision is not None else str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> None:
        self._delegate(trial, lambda rungs, run: rungs.on_trial_complete(tune_controller, run, result))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._delegate(trial, lambda rungs, run: rungs.on_trial_error(tune_controller, run))

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._delegate(trial, lambda rungs, run: rungs.on_trial_remove(tune_controller, run))

    def replay(self, study: str, number: int, phase: str, epoch: int, score: float) -> bool:
        """An epoch of a run that came to be known in another way than from Tune.

        Returns:
            Whether it stops the run before its last epoch.
        """
        if phase not in SEARCHED:
            return False
        rungs, run = self._rungs[study], _Run(_run_id(study, number))
        rungs.on_trial_add(None, run)
        decision = rungs.on_trial_result(None, run, {"epoch": epoch, SCORE: score})
        return phase == "tpe" and decision == TrialScheduler.STOP and epoch < self._max_epochs

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None: Tune starts pending trials in their order by itself. FIFO's answer, the first pending one, would
        be looked for among all trials ten times a second, the ended ones first."""
        return None

    def debug_string(self) -> str:
        return f"{len(self._rungs)} studies, each with its own ASHA rungs"

    def _delegate(self, trial: Trial, call: Callable[[AsyncHyperBandScheduler, _Run], Any]) -> str | None:
        if trial.config["phase"] not in SEARCHED:
            return None
        study = trial.config["study"]
        decision: str | None = call(self._rungs[study], _Run(_run_id(study, trial.config["number"])))
        return decision


@dataclass(frozen=True, slots=True)
class _Run:
    """What rungs know of a trial. By the run's own name, as Tune calls every attempt another trial."""

    trial_id: str


def _run_id(study: str, number: int) -> str:
    """The name of a run on its study's rungs."""
    return f"{study}#{number}"
