"""Writes a sweep into a `Store`. Live and replayed records take this same path.

Each step may be repeated: what MLflow holds is looked up once and only the difference is sent. After a
failure `forget` drops what is believed to be there, since a call that failed here may have succeeded there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import redact
from orchestrator.tracking import naming
from orchestrator.tracking.backlog import Backlog, Finished, Published, RunKey, RunUpdate
from orchestrator.tracking.color import colors
from orchestrator.tracking.failure import ForbiddenError, RefusedError, UnavailableError
from orchestrator.tracking.info import DatasetInfo, Status, SweepInfo
from orchestrator.tracking.measured import log_evaluated, measure_points
from orchestrator.tracking.metric import (
    epoch_points,
    final_points,
    milliseconds,
    model_points,
    parent_points,
)
from orchestrator.tracking.note import note
from orchestrator.tracking.refusals import Refusals
from orchestrator.tracking.store import Store, StoredRun
from orchestrator.tracking.task_runs import TaskRuns
from orchestrator.tracking.view import view_tags

__all__ = ["SweepWriter"]

_LOG: Final = logging.getLogger(__name__)
_EPOCHS_TAG: Final = "orchestrator.epochs"
_STATUS: Final = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
_NOTE_TAG: Final = "mlflow.note.content"


class SweepWriter:
    """One sweep in one store. Used by one thread."""

    def __init__(self, info: SweepInfo, store: Store, *, live: bool) -> None:
        self._info = info
        self._store = store
        self._live = live
        self._tasks: dict[str, TaskRuns] = {}
        self._lost: set[str] = set()
        self._short = naming.short_names(info.backbones)
        self._colors = colors(info.backbones)
        self._datasets: dict[str, DatasetInfo] = {}
        self.experiments: dict[str, str] = {}
        """By task; kept through `forget`, as links need it."""
        self.viewed: set[str] = set()
        """Tasks whose saved views were written."""
        self.ranked: set[str] = set()
        """Tasks with a ranking in MLflow."""
        self.written: set[str] = set()
        """Identities of the trials and confirmations written to their end."""
        self._refusals = Refusals()

    @property
    def complaint(self) -> str | None:
        """One sentence on what MLflow would not take; None when it took all."""
        return self._refusals.complaint

    def forget(self) -> None:
        """Believe nothing about what MLflow holds; `open` looks again."""
        self._tasks.clear()
        self._lost.clear()

    def open(self) -> None:
        """Find or create each task's experiment and parent run."""
        self._store.connect()
        for task in self._info.tasks:
            if task not in self._tasks and task not in self._lost:
                self._lost.add(task)
                with self._refusals.one(f"task {task}"):
                    self._open_task(task)
                    self._lost.discard(task)

    def write(self, backlog: Backlog) -> None:
        """Write what is waiting and take it out of the backlog."""
        for name in list(backlog.datasets):
            with self._refusals.one(f"data of {name}"):
                self._write_dataset(backlog.datasets[name])
            del backlog.datasets[name]
        for key in list(backlog.runs):
            with self._refusals.one(f"{key.study} #{key.number}"):
                self._write_run(key, backlog.runs[key])
            del backlog.runs[key]
        if backlog.publication is not None:
            self._publish(backlog.publication)
            backlog.publication = None
        backlog.num_events = 0

    def finish(self, status: Status) -> None:
        """Leave nothing RUNNING and no identity twice."""
        end_ms = milliseconds(None)
        for name in list(self._tasks):
            with self._refusals.one(f"end of {name}"):
                task = self._tasks[name]
                task.look(self._store, whole=False)
                for run in task.spare:
                    self._store.delete(run)
                for run in task.runs.values():
                    if run.status == "RUNNING" and run is not task.parent:
                        self._store.set_status(run, "KILLED", end_ms)
                if task.parent is not None:
                    self._store.set_status(task.parent, status, end_ms)

    def _open_task(self, name: str) -> None:
        info = self._info
        experiment_id, tags = self._store.experiment(naming.experiment_name(name))
        self.experiments[name] = experiment_id
        task = TaskRuns(name=name, sweep_id=info.sweep_id, experiment_id=experiment_id, tags=tags)
        task.look(self._store)
        latest = {"mlflow.experimentKind": "custom_model_development", naming.SWEEP_ID_TAG: info.sweep_id}
        if tags.get(naming.SWEEP_ID_TAG) != info.sweep_id:
            latest[_NOTE_TAG] = note(info, name, self._datasets.get(name), None)
        self._store.tag_experiment(experiment_id, tags, latest)
        self._write_views(name, experiment_id, tags)
        parent = task.parent
        if parent is None:
            parent = self._create_parent(task)
        elif self._live:
            self._store.set_status(parent, "RUNNING")
        self._store.log(parent, params=naming.parent_params(info))
        if parent.tags.get("orchestrator.config") != "logged":
            with self._refusals.one(f"configuration of {name}", file=True):
                self._store.log_text(parent, redact(info.config_yaml), "config/sweep.yaml")
                self._store.log(parent, tags={"orchestrator.config": "logged"})
        self._tasks[name] = task

    def _create_parent(self, task: TaskRuns) -> StoredRun:
        info = self._info
        run_id = naming.parent_run_id(info.sweep_id, task.name)
        tags = naming.source_tags(info) | naming.parent_tags(info, task.name)
        start_ms = milliseconds(info.created_at)
        parent = self._store.create_run(
            task.experiment_id, run_id=run_id, name=info.sweep_id, tags=tags, start_ms=start_ms
        )
        task.runs[run_id] = parent
        return parent

    def _write_views(self, name: str, experiment_id: str, tags: dict[str, str]) -> None:
        """Best effort: without them the plain link still works."""
        try:
            views = view_tags(self._info, self._datasets.get(name))
            self._store.tag_experiment(experiment_id, tags, views)
            self.viewed.add(name)
        except (UnavailableError, ForbiddenError):
            raise
        except Exception as error:
            _LOG.debug("MLflow takes no saved views of %s: %s", name, error)

    def _write_dataset(self, info: DatasetInfo) -> None:
        task = self._task(info.task)
        bare = note(self._info, info.task, self._datasets.get(info.task), None)
        self._datasets[info.task] = info
        if task.parent is not None:
            self._store.log_dataset(task.parent, info)
        self._write_views(info.task, task.experiment_id, task.tags)
        if task.tags.get(_NOTE_TAG) == bare:
            page = {_NOTE_TAG: note(self._info, info.task, info, None)}
            self._store.tag_experiment(task.experiment_id, task.tags, page)

    def _write_run(self, key: RunKey, update: RunUpdate) -> None:
        name, backbone = naming.split_study(key.study)
        task = self._task(name)
        run_id = naming.child_run_id(self._info.sweep_id, name, backbone, key.number)
        facts, run = update.facts, task.known(self._store, run_id)
        tags: dict[str, str] = {}
        params: dict[str, str] = {}
        if facts is not None:
            short = self._short.get(backbone, backbone)
            params = naming.run_params(facts, short, self._datasets.get(name))
            tags = self._child_tags(task, backbone) | naming.child_tags(facts, short)
            if run is None:
                run = self._store.create_run(
                    task.experiment_id,
                    run_id=run_id,
                    name=naming.run_name(facts, short),
                    tags=tags,
                    start_ms=milliseconds(facts.get("started_at")),
                )
                task.runs[run_id] = run
        if run is None:
            raise RefusedError("an epoch of a run that was never started")
        if update.started is not None and update.finished is None and self._live:
            self._store.set_status(run, "RUNNING")
        points = [] if _has_all(run, update) else [p for r in update.epochs.values() for p in epoch_points(r)]
        if update.finished is None:
            self._store.log(run, params=params, tags=tags, points=points)
        else:
            self._end_run(run, update.finished, params, tags, points, set(update.epochs))
            self.written.add(run_id)
            run.shed()

    def _end_run(
        self,
        run: StoredRun,
        finished: Finished,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        points: list[Any],
        epochs: set[int],
    ) -> None:
        trial = finished.trial
        ends = naming.end_tags(trial)
        if points or not _complete(run, trial):
            epochs |= self._store.steps(run)
            if len(epochs) >= trial["epochs"]:
                ends[_EPOCHS_TAG] = str(trial["epochs"])
        points += final_points(trial, finished.test)
        evaluated = finished.evaluated
        if evaluated is not None:
            points += measure_points(evaluated.measures, trial.get("finished_at"))
        self._store.log(run, params=params, tags={**tags, **ends}, points=points)
        if evaluated is not None:
            with self._refusals.one(f"evaluation of {evaluated.study} #{evaluated.number}", file=True):
                log_evaluated(self._store, run, evaluated)
        self._store.set_status(run, _STATUS[trial["state"]], milliseconds(trial.get("finished_at")))

    def _publish(self, publication: Published) -> None:
        rows = publication.ranking.to_pylist() if publication.ranking is not None else []
        for name in self._info.tasks:
            mine = [row for row in rows if row["task"] == name]
            with self._refusals.one(f"ranking of {name}"):
                task = self._task(name)
                for row in mine:
                    self._write_model(task, name, row, publication.more.get((name, row["backbone"]), {}))
                if mine:
                    self.ranked.add(name)
                verdict = publication.verdicts.get(name)
                page = note(self._info, name, self._datasets.get(name), verdict)
                if task.parent is None:
                    continue
                if verdict is not None:
                    self._store.tag_experiment(task.experiment_id, task.tags, {_NOTE_TAG: page})
                    self._store.log(task.parent, tags={_NOTE_TAG: page})
                self._store.log(task.parent, points=parent_points(mine), again=True)
                for path, local in publication.files.items():
                    with self._refusals.one(f"{path} of {name}", file=True):
                        self._store.log_file(task.parent, local, path)

    def _write_model(self, task: TaskRuns, name: str, row: Mapping[str, Any], more: Mapping[str, float]) -> None:
        backbone = row["backbone"]
        short = self._short.get(backbone, backbone)
        run_id = naming.model_run_id(self._info.sweep_id, name, backbone)
        tags = self._child_tags(task, backbone) | naming.model_tags(row, short)
        run = task.runs.get(run_id)
        if run is None:
            run = self._store.create_run(
                task.experiment_id, run_id=run_id, name=short, tags=tags, start_ms=milliseconds(None)
            )
            task.runs[run_id] = run
        self._store.log(run, params={"model": short}, tags=tags, points=model_points(row, more), again=True)
        self._store.set_status(run, "FINISHED", milliseconds(None))

    def _child_tags(self, task: TaskRuns, backbone: str) -> dict[str, str]:
        tags = naming.source_tags(self._info)
        if task.parent is not None:
            tags["mlflow.parentRunId"] = task.parent.id
        if backbone in self._colors:
            tags["mlflow.runColor"] = self._colors[backbone]
        return tags

    def _task(self, name: str) -> TaskRuns:
        try:
            return self._tasks[name]
        except KeyError:
            raise RefusedError(f"the task {name!r} has no experiment to write to") from None


def _complete(run: StoredRun, trial: Mapping[str, Any]) -> bool:
    return run.tags.get(_EPOCHS_TAG) == str(trial["epochs"])


def _has_all(run: StoredRun, update: RunUpdate) -> bool:
    """Whether an earlier writing of the run's end already had every epoch."""
    return update.finished is not None and _complete(run, update.finished.trial)
