"""A ranking in MLflow: a summary run for each backbone, the verdict in words, files, and which runs count no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.tracking import naming
from orchestrator.tracking.backlog import Published
from orchestrator.tracking.info import DatasetInfo, SweepInfo
from orchestrator.tracking.inputs import data_inputs
from orchestrator.tracking.labels import Labels
from orchestrator.tracking.metric import milliseconds, model_points, parent_points
from orchestrator.tracking.note import note
from orchestrator.tracking.pictures import show_pictures
from orchestrator.tracking.refusals import Refusals
from orchestrator.tracking.store import Store
from orchestrator.tracking.task_runs import TaskRuns

__all__ = ["NOTE_TAG", "Publisher"]

NOTE_TAG: Final = "mlflow.note.content"
_STATE_TAG: Final = "orchestrator.ranking"
_SUPERSEDED_TAG: Final = "orchestrator.superseded"
_NUM_SUPERSEDED_TAG: Final = "orchestrator.num_superseded"


class Publisher:
    """Writes rankings of one sweep, one task at a time."""

    def __init__(self, info: SweepInfo, store: Store, labels: Labels, refusals: Refusals) -> None:
        self._info = info
        self._store = store
        self._labels = labels
        self._refusals = refusals

    def publish(self, publication: Published, task: TaskRuns, dataset: DatasetInfo | None) -> bool:
        """Write what of a publication is about a task. Returns whether every file was taken."""
        rows = [] if publication.ranking is None else publication.ranking.to_pylist()
        mine = [] if publication.is_interim else [row for row in rows if row["task"] == task.name]
        taken = [self._write_model(task, row, publication, dataset) for row in mine]
        self._mark_superseded(task, publication)
        if task.parent is None:
            return all(taken)
        self._write_verdict(task, publication, dataset)
        if not publication.is_interim:
            points = parent_points(mine, publication.best.get(task.name, {}))
            self._store.log(task.parent, points=points, again=True)
        for path, local in publication.files.items():
            what = f"{path} of {task.name}"
            with self._refusals.one(what, file=True):
                self._store.log_file(task.parent, local, path)
            taken.append(not self._refusals.holds(what))
        return all(taken)

    def _write_verdict(self, task: TaskRuns, publication: Published, dataset: DatasetInfo | None) -> None:
        verdict = publication.verdicts.get(task.name)
        if verdict is None or task.parent is None:
            return
        page = note(self._info, task.name, dataset, verdict)
        state = "interim" if publication.is_interim else "final"
        self._store.tag_experiment(task.experiment_id, task.tags, {NOTE_TAG: page})
        self._store.log(task.parent, tags={NOTE_TAG: page, _STATE_TAG: state})

    def _write_model(
        self, task: TaskRuns, row: Mapping[str, Any], publication: Published, dataset: DatasetInfo | None
    ) -> bool:
        """Returns whether its pictures were taken."""
        backbone = row["backbone"]
        model = task.name, backbone
        short = self._labels.short(backbone)
        run_id = naming.model_run_id(self._info.sweep_id, task.name, backbone)
        tags = self._labels.child_tags(task, backbone, dataset) | naming.model_tags(row, short)
        run = task.runs.get(run_id)
        if run is None:
            run = self._store.create_run(
                task.experiment_id, run_id=run_id, name=short, tags=tags, start_ms=milliseconds(None)
            )
            task.runs[run_id] = run
        points = model_points(row, publication.more.get(model, {}))
        self._store.log(run, params={"model": short}, tags=tags, points=points, again=True)
        if dataset is not None:
            self._store.log_inputs(run, data_inputs(dataset))
        what = f"pictures of {backbone} on {task.name}"
        if (evaluated := publication.pictures.get(model)) is not None:
            with self._refusals.one(what, file=True):
                show_pictures(self._store, run, evaluated)
        self._store.set_status(run, "FINISHED", milliseconds(None))
        return not self._refusals.holds(what)

    def _mark_superseded(self, task: TaskRuns, publication: Published) -> None:
        """Say on runs whether they count no more; of one that counts again, that it does."""
        studies = ((naming.split_study(study), number) for study, number in publication.superseded)
        out = {
            naming.child_run_id(self._info.sweep_id, name, backbone, number)
            for (name, backbone), number in studies
            if name == task.name
        }
        parent = task.parent
        if parent is None or (not out and _NUM_SUPERSEDED_TAG not in parent.tags):
            return
        task.look(self._store)  # what is known of runs that ended was dropped
        for run in task.runs.values():
            if run.run_id in out or _SUPERSEDED_TAG in run.tags:
                self._store.log(run, tags={_SUPERSEDED_TAG: str(run.run_id in out).lower()})
            if run is not task.parent and not naming.is_model_run_id(run.run_id):
                run.shed()
        if task.parent is not None:
            self._store.log(task.parent, tags={_NUM_SUPERSEDED_TAG: str(len(out))})
