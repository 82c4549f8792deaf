"""Many Optuna studies behind the single search algorithm that a Tuner takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ray.tune.search import Searcher

from orchestrator.allocators import Allocator, EqualShares
from orchestrator.recorder import Recorder
from orchestrator.study import Study

__all__ = ["StudySearcher"]


class StudySearcher(Searcher):  # type: ignore[misc]  # ray ships no types
    """Gives every free slot to a study.

    It sees validation only: results carry no test score, and test measurements are collected by the
    recorder, which hands back the `TRIALS` row.

    Args:
        allocator: says whose turn it is; None is equal shares for all.
    """

    def __init__(self, studies: Sequence[Study], recorder: Recorder, allocator: Allocator | None = None) -> None:
        super().__init__()
        self._studies = {study.key: study for study in studies}
        self._allocator = allocator or EqualShares(studies)
        self._recorder = recorder
        self._runs: dict[str, tuple[str, int]] = {}  # Tune's trial id -> study, number
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """What kept a run's end from being recorded, if anything did: nothing more can be learnt then."""
        return self._failure

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Nothing is left to the Tuner: studies know what they maximise."""
        return not config

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A run to start; None to wait for one that is running; FINISHED when all have ended."""
        if self._failure is not None:
            raise self._failure
        for study in self._allocator.order():
            request = study.next()
            if request is not None:
                self._runs[trial_id] = study.key, request.number
                self._recorder.started(request, study.num_blocks)
                return request.to_tune()
        exhausted = all(study.is_exhausted for study in self._studies.values())
        return str(Searcher.FINISHED) if exhausted else None

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """An epoch that is not a run's last."""
        if trial_id in self._runs:
            with self._remembering_failure():
                self._epoch(*self._runs[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """A run's last epoch, or its death. On disk first, then told to Optuna."""
        if trial_id not in self._runs:
            return  # told before: Tune tells an end again when the first time raised
        study, number = self._runs.pop(trial_id)
        with self._remembering_failure():
            if result is not None:
                self._epoch(study, number, result)
            trial = self._recorder.finished(study, number, result, died=error)
            self._studies[study].ended(number, trial["state"], trial["val_score"])
            self._allocator.ended(study, number)

    def _epoch(self, study: str, number: int, result: Mapping[str, Any]) -> None:
        self._recorder.epoch(study, number, result)
        if result.get("val_score") is not None:
            self._studies[study].report(number, result["epoch"], result["val_score"])

    @contextmanager
    def _remembering_failure(self) -> Iterator[None]:
        """Tune counts what is raised here as the trial's failure and goes on. It must not: with a run's end
        lost, its study would wait for it for ever."""
        try:
            yield
        except Exception as error:
            self._failure = self._failure or error
            raise

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles a Tuner's parts for a restore that is never made."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used: the ledger is Optuna's own storage."""
        raise NotImplementedError("the ledger is Optuna's storage")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("the ledger is Optuna's storage")
