"""Ended trials leave Tune's memory: the records have them."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

__all__ = ["ForgetEnded"]


class ForgetEnded(Callback):  # type: ignore[misc]  # ray ships no types
    """Empties the trials that have ended; Tune keeps each to the end of the sweep.

    Tune holds the configuration of a trial, its last result and statistics of every number in them, 60 KiB in
    all, for snapshots and a result grid that are never read. They go one step after the trial's end, when
    nothing that is done about the end is left to do.
    """

    def __init__(self) -> None:
        self._ended: list[Trial] = []

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended.append(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended.append(trial)

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        for trial in self._ended:
            known = trial.run_metadata
            for part in (
                trial.config,
                trial.evaluated_params,
                known.last_result,
                known.metric_analysis,
                known.metric_n_steps,
            ):
                part.clear()
        self._ended.clear()
