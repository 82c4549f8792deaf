"""Many Optuna studies behind the single search algorithm that a Tuner takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from orchestrator.recorder import Recorder
from orchestrator.study import Study

__all__ = ["StudySearcher"]


class StudySearcher(Searcher):  # type: ignore[misc]  # ray ships no types
    """Gives every free slot to the study that has been handed the least, so that all advance alike.

    It sees validation only: results carry no test score, and test measurements are collected by the
    recorder, which hands back the `TRIALS` row.
    """

    def __init__(self, studies: Sequence[Study], recorder: Recorder) -> None:
        super().__init__()
        self._studies = {study.key: study for study in studies}
        self._recorder = recorder
        self._runs: dict[str, tuple[str, int]] = {}  # Tune's trial id -> study, number

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Nothing is left to the Tuner: studies know what they maximise."""
        return not config

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A run to start; None to wait for one that is running; FINISHED when all have ended."""
        for study in sorted(self._studies.values(), key=lambda study: study.num_handed):
            request = study.next()
            if request is not None:
                self._runs[trial_id] = study.key, request.number
                self._recorder.started(request, study.num_blocks)
                return request.to_tune()
        exhausted = all(study.is_exhausted for study in self._studies.values())
        return str(Searcher.FINISHED) if exhausted else None

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """An epoch that is not a run's last."""
        study, number = self._runs[trial_id]
        self._recorder.epoch(study, number, result)
        if result.get("val_score") is not None:
            self._studies[study].report(number, result["epoch"], result["val_score"])

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """A run's last epoch, or its death. On disk first, then told to Optuna."""
        study, number = self._runs.pop(trial_id)
        if result is not None and result.get("val_score") is not None:
            self._studies[study].report(number, result["epoch"], result["val_score"])
        trial = self._recorder.finished(study, number, result, died=error)
        self._studies[study].ended(number, trial["state"], trial["val_score"])

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles a Tuner's parts for a restore that is never made."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used: the ledger is Optuna's own storage."""
        raise NotImplementedError("the ledger is Optuna's storage")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("the ledger is Optuna's storage")
