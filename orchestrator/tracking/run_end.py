"""What the end of a trial or confirmation brings to its run, and how one sees later that it is all there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.evaluated import Evaluated
from orchestrator.tracking import naming
from orchestrator.tracking.backlog import RunUpdate
from orchestrator.tracking.measured import is_logged, log_evaluated, measure_points
from orchestrator.tracking.metric import epoch_points, final_points, milliseconds
from orchestrator.tracking.refusals import Refusals
from orchestrator.tracking.store import Store, StoredRun

__all__ = ["end_run", "evaluation_of", "is_ended", "new_epoch_points"]

_EPOCHS_TAG: Final = "orchestrator.epochs"
"""Written with the last of what the end brings, so that it says that the rest is there."""

_STATUS: Final = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}


def is_ended(run: StoredRun, trial: Mapping[str, Any], evaluated: Evaluated | None) -> bool:
    """Whether a run is known to hold all that its TRIALS row and its evaluation stand for."""
    return (
        run.is_whole
        and run.status == _STATUS[trial["state"]]
        and _has_epochs(run, trial)
        and (evaluated is None or is_logged(run))
    )


def new_epoch_points(run: StoredRun, update: RunUpdate) -> list[Any]:
    """Of the epochs in `update`; none where an earlier writing of the run's end already had every epoch."""
    if update.finished is not None and _has_epochs(run, update.finished.trial):
        return []
    return [point for row in update.epochs.values() for point in epoch_points(row)]


def evaluation_of(study: str, number: int) -> str:
    """What the tables and pictures of a run are called among what was refused."""
    return f"evaluation of {study} #{number}"


def end_run(
    store: Store,
    refusals: Refusals,
    run: StoredRun,
    update: RunUpdate,
    *,
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Write the end of a run, and its epochs that are still to be written.

    Args:
        update: with `finished`.
    """
    assert update.finished is not None
    trial, test, evaluated = update.finished.trial, update.finished.test, update.finished.evaluated
    ends = naming.end_tags(trial)
    points = new_epoch_points(run, update)
    is_sure = not points and _has_epochs(run, trial)
    if not is_sure and len(update.epochs.keys() | store.steps(run)) >= trial["epochs"]:
        ends[_EPOCHS_TAG] = str(trial["epochs"])
    points += final_points(trial, test)
    ended_ms = milliseconds(trial.get("finished_at"))
    if evaluated is not None:
        points += measure_points(evaluated.measures, trial.get("finished_at"))
    store.log(run, params=params, tags={**tags, **ends}, points=points)
    if evaluated is not None:
        with refusals.one(evaluation_of(evaluated.study, evaluated.number), file=True):
            log_evaluated(store, run, evaluated, ended_ms)
    store.set_status(run, _STATUS[trial["state"]], ended_ms)


def _has_epochs(run: StoredRun, trial: Mapping[str, Any]) -> bool:
    return run.tags.get(_EPOCHS_TAG) == str(trial["epochs"])
