"""What a new driver takes over from the one before it: runs under way, their epochs, the rungs they stand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.folder import SweepFolder
from orchestrator.recorder import Recorder
from orchestrator.searching.study import Study
from orchestrator.workers.request import RunRequest

__all__ = ["take_over"]


def take_over(
    folder: SweepFolder,
    studies: Sequence[Study],
    recorder: Recorder,
    replay: Callable[[str, int, str, int, float], bool],
) -> None:
    """Bring what begins anew with a driver to where the sweep's records say that it stood.

    Args:
        studies: as they restored themselves; what was under way waits in them.
        replay: `StudyScheduler.replay` of the new scheduler.

    Raises:
        OSError: the disk is full or gone.
    """
    waiting = {(study.key, request.number): study for study in studies for request in study.waiting}
    phases: dict[tuple[str, int], str] = {}
    for study in studies:
        for request in study.waiting:
            phases[study.key, request.number] = request.phase
            recorder.adopt(request, study.num_blocks)
    columns = folder.trials.read().select(["study", "number", "phase"])
    phases |= {(row["study"], row["number"]): row["phase"] for row in columns.to_pylist()}
    # In the order in which the driver before heard of them: rungs depend on it.
    stopped: dict[tuple[str, int], bool] = {}
    for row in folder.epochs.read().select(["study", "number", "epoch", "val_score"]).to_pylist():
        key = row["study"], row["number"]
        if key not in phases or row["val_score"] is None:
            continue
        stopped[key] = replay(*key, phases[key], row["epoch"], row["val_score"])
        if key in waiting:
            waiting[key].report(row["number"], row["epoch"], row["val_score"])
    for study in studies:
        for request in study.waiting:
            if stopped.get((study.key, request.number)):
                _end(study, request, recorder)


def _end(study: Study, request: RunRequest, recorder: Recorder) -> None:
    """The scheduler had stopped a run, and the driver before had no time to say so."""
    study.forgo(request.number)
    recorder.started(request, study.num_blocks)
    trial = recorder.finished(study.key, request.number, recorder.kept_facts(study.key, request.number))
    study.ended(request.number, trial["state"], trial["val_score"])
