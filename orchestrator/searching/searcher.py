"""Many Optuna studies behind the single search algorithm that a Tuner takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from orchestrator.recorder import Recorder
from orchestrator.searching.allocators import Allocator, EqualShares
from orchestrator.searching.study import Study
from orchestrator.workers.request import RunRequest

__all__ = ["StudySearcher"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setback:
    """How often a run broke after the same epoch."""

    epoch: int
    count: int


class StudySearcher(Searcher):  # type: ignore[misc]  # ray ships no types
    """Gives every free slot to a study.

    It sees validation only: results carry no test score, and test measurements are collected by the
    recorder, which hands back the `TRIALS` row.

    Args:
        allocator: says whose turn it is; None is equal shares for all.
        max_retries: how often in a row a run may break without a newly completed epoch and be tried again.
        missed: is told of an epoch that a worker completed and could not report, as `StudyScheduler.replay` is.
        limit: how many runs may be under way, where that changes; None leaves it to the Tuner.
        say: is told when a run is tried again, and what its worker has to say to a person.
    """

    def __init__(
        self,
        studies: Sequence[Study],
        recorder: Recorder,
        allocator: Allocator | None = None,
        *,
        max_retries: int = 0,
        missed: Callable[[str, int, str, int, float], object] = lambda *epoch: None,
        limit: Callable[[], int] | None = None,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        super().__init__()
        self._studies = {study.key: study for study in studies}
        self._allocator = allocator or EqualShares(studies)
        self._recorder = recorder
        self._max_retries = max_retries
        self._missed = missed
        self._limit = limit
        self._say = say
        self._setbacks: dict[tuple[str, int], _Setback] = {}
        self._runs: dict[str, RunRequest] = {}  # by Tune's trial id
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        """What kept a run's end from being recorded, if anything did: nothing more can be learnt then."""
        return self._failure

    @property
    def is_exhausted(self) -> bool:
        """Whether every run of every study has ended."""
        return all(study.is_exhausted for study in self._studies.values())

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Nothing is left to the Tuner: studies know what they maximise."""
        return not config

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A run to start; None to wait for one that is running; FINISHED when all have ended."""
        if self._failure is not None:
            raise self._failure
        if self._limit is not None and len(self._runs) >= self._limit():
            return None
        with self._remembering_failure():
            for study in self._in_turn():
                request = study.next()
                if request is not None:
                    self._runs[trial_id] = request = self._recorder.started(request, study.num_blocks)
                    return request.to_tune()
        return str(Searcher.FINISHED) if self.is_exhausted else None

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """An epoch that is not a run's last."""
        if trial_id in self._runs:
            with self._remembering_failure():
                self._epoch(self._runs[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """A run's last epoch, or its worker's death. On disk first, then told to Optuna."""
        if trial_id not in self._runs:
            return  # told before: Tune tells an end again when the first time raised
        request = self._runs.pop(trial_id)
        with self._remembering_failure():
            if result is not None:
                self._epoch(request, result)
            if error and self._is_tried_again(request):
                return
            trial = self._recorder.finished(request.study, request.number, result, died=error)
            self._setbacks.pop((request.study, request.number), None)
            self._studies[request.study].ended(request.number, trial["state"], trial["val_score"])
            self._allocator.ended(request.study, request.number)

    def _in_turn(self) -> Sequence[Study]:
        """Who is asked for a run first: a study with a run that was under way."""
        order = self._allocator.order()
        return sorted(order, key=lambda study: not study.waiting)

    def _is_tried_again(self, request: RunRequest) -> bool:
        """A worker died. Whether its run is handed out once more: not for ever without progress."""
        cause, epoch, missed = self._recorder.broke(request.study, request.number)
        for row in missed:
            self._learn(request, row)
        key = request.study, request.number
        before = self._setbacks.get(key)
        count = before.count + 1 if before is not None and before.epoch == epoch else 1
        self._setbacks[key] = _Setback(epoch=epoch, count=count)
        if count > self._max_retries or cause.startswith("timeout:"):
            return False
        self._studies[request.study].again(request)
        self._say(f"{request.study} #{request.number}: {cause}; tried again after epoch {epoch}")
        return True

    def _epoch(self, request: RunRequest, result: Mapping[str, Any]) -> None:
        if result.get("notes"):
            self._say(f"{request.study} #{request.number}: {result['notes']}")
        for row in json.loads(result.get("untold") or "[]"):
            self._recorder.epoch(request.study, request.number, row)
            self._learn(request, row)
        self._recorder.epoch(request.study, request.number, result)
        if result.get("val_score") is not None:
            self._studies[request.study].report(request.number, result["epoch"], result["val_score"])

    def _learn(self, request: RunRequest, row: Mapping[str, Any]) -> None:
        """An epoch that is recorded, and that no report of its own told of."""
        self._studies[request.study].report(request.number, row["epoch"], row["val_score"])
        self._missed(request.study, request.number, request.phase, row["epoch"], row["val_score"])

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
