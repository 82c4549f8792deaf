"""Writes a sweep into a `Store`. Live and replayed records take this same path.

Each step may be repeated: what MLflow holds is looked up once and only the difference is sent. After a
failure `forget` drops what is believed to be there, since a call that failed here may have succeeded there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from orchestrator.errors import redact
from orchestrator.evaluated import Evaluated
from orchestrator.tracking import logged_model, naming
from orchestrator.tracking.backlog import Backlog, Published, RunKey, RunUpdate
from orchestrator.tracking.failure import ForbiddenError, RefusedError, UnavailableError
from orchestrator.tracking.info import DatasetInfo, Status, SweepInfo
from orchestrator.tracking.inputs import contexts_of, data_inputs
from orchestrator.tracking.labels import Labels
from orchestrator.tracking.metric import milliseconds
from orchestrator.tracking.model_info import ModelInfo
from orchestrator.tracking.note import note
from orchestrator.tracking.publishing import NOTE_TAG, Publisher
from orchestrator.tracking.refusals import Refusals
from orchestrator.tracking.run_end import end_run, evaluation_of, is_ended, new_epoch_points
from orchestrator.tracking.store import Store, StoredRun
from orchestrator.tracking.task_runs import TaskRuns
from orchestrator.tracking.traceback_file import log_traceback
from orchestrator.tracking.view import common_metrics, view_tags

__all__ = ["SweepWriter"]

_LOG: Final = logging.getLogger(__name__)
_CONFIG_TAG: Final = "orchestrator.config"
_MAX_HELD: Final = 1000


class SweepWriter:
    """One sweep in one store. Used by one thread."""

    def __init__(self, info: SweepInfo, store: Store, *, live: bool) -> None:
        self._info = info
        self._store = store
        self._live = live
        self._tasks: dict[str, TaskRuns] = {}
        self._lost: set[str] = set()
        self._held = Backlog()
        """What was refused: tried again at the end, and of a run with what it brings next."""
        self._labels = Labels(info)
        self._datasets: dict[str, DatasetInfo] = {}
        self._models: Mapping[tuple[str, str], ModelInfo] = {}
        self.experiments: dict[str, str] = {}
        """By task; kept through `forget`, as links need it."""
        self._measured: dict[str, frozenset[str] | None] = {}
        """Metrics that all backbones of a task have, which decide on the charts."""
        self.viewed: set[str] = set()
        """Tasks whose saved views were written."""
        self.ranked: set[str] = set()
        """Tasks with a ranking in MLflow."""
        self.written: set[str] = set()
        """Identities of the trials and confirmations written to their end."""
        self._refusals = Refusals()
        self._publisher = Publisher(info, store, self._labels, self._refusals)

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
                with self._refusals.one(f"task {task}", is_cause=True):
                    self._open_task(task)
                    self._lost.discard(task)

    def write(self, backlog: Backlog) -> None:
        """Write what is waiting and take it out of the backlog."""
        for name in list(backlog.datasets):
            with self._refusals.one(f"data of {name}"):
                self._write_dataset(backlog.datasets[name])
            data = backlog.datasets.pop(name)
            if self._refusals.holds(f"data of {name}"):
                self._held.datasets[name] = data
        backlog.unfold(self._is_there)
        for key in list(backlog.runs):
            self._write_or_hold(key, backlog.runs)
        if backlog.publication is not None:
            self._models = backlog.publication.models
            took_all = self._publish(backlog.publication)
            self._held.publication = None if took_all else backlog.publication
            backlog.publication = None
        backlog.num_events = 0

    def finish(self, status: Status, backlog: Backlog, ended_at: datetime | None = None) -> None:
        """Look anew and try again what was refused, then leave nothing RUNNING and no identity twice.

        Args:
            backlog: written already; takes what is tried again.
            ended_at: when the sweep ended; None is now.
        """
        if self._refusals.complaint is not None:
            self.forget()
        self.open()
        held, self._held = self._held, Backlog()
        backlog.datasets |= held.datasets
        backlog.runs |= held.runs
        backlog.publication = held.publication
        self.write(backlog)
        end_ms = milliseconds(ended_at)
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
        self._write_models()

    def _write_models(self) -> None:
        """Last of all, as networks are large: what time does not suffice for is for `replay`."""
        source = naming.source_tags(self._info)
        for (name, backbone), model in self._models.items():
            with self._refusals.one(f"model of {backbone} on {name}", file=True):
                run = self._task(name).runs.get(naming.model_run_id(self._info.sweep_id, name, backbone))
                if run is None:
                    raise RefusedError("its backbone has no summary run")
                logged_model.write(self._store, run, model, source, self._datasets.get(name))

    def _open_task(self, name: str) -> None:
        info = self._info
        experiment_id, tags = self._store.experiment(naming.experiment_name(name))
        self.experiments[name] = experiment_id
        task = TaskRuns(name=name, sweep_id=info.sweep_id, experiment_id=experiment_id, tags=tags)
        task.look(self._store)
        latest = {"mlflow.experimentKind": "custom_model_development", naming.SWEEP_ID_TAG: info.sweep_id}
        if tags.get(naming.SWEEP_ID_TAG) != info.sweep_id:
            latest[NOTE_TAG] = note(info, name, self._datasets.get(name), None)
        self._store.tag_experiment(experiment_id, tags, latest)
        self._write_views(name, experiment_id, tags)
        parent = task.parent
        if parent is None:
            parent = self._create_parent(task)
        elif self._live:
            self._store.set_status(parent, "RUNNING")
        params = naming.parent_params(info)
        changed = naming.changed_params(parent.params, params)
        self._store.log(parent, params=params, tags={"orchestrator.extended": changed} if changed else {})
        text = redact(info.config_yaml)
        with self._refusals.one(f"configuration of {name}", file=True):
            if parent.tags.get(_CONFIG_TAG) != naming.digest(text):
                self._store.log_text(parent, text, "config/sweep.yaml")
                self._store.log(parent, tags={_CONFIG_TAG: naming.digest(text)})
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
            views = view_tags(self._info, self._datasets.get(name), self._measured.get(name))
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
            self._store.log_inputs(task.parent, data_inputs(info))
        self._write_views(info.task, task.experiment_id, task.tags)
        if task.tags.get(NOTE_TAG) == bare:
            page = {NOTE_TAG: note(self._info, info.task, info, None)}
            self._store.tag_experiment(task.experiment_id, task.tags, page)

    def _is_there(self, trial: Mapping[str, Any], evaluated: Evaluated | None) -> bool:
        """Whether nothing of an ended run is missing. Replayed records are looked at one by one."""
        name, backbone = naming.split_study(trial["study"])
        run_id = naming.child_run_id(self._info.sweep_id, name, backbone, trial["number"])
        run = self._tasks[name].runs.get(run_id) if name in self._tasks else None
        if not self._live or run is None or not is_ended(run, trial, evaluated):
            return False
        if name in self._datasets and not run.inputs:
            return False
        self.written.add(run_id)
        run.shed()
        return True

    def _write_or_hold(self, key: RunKey, waiting: dict[RunKey, RunUpdate]) -> None:
        """Write what waits of a run, and take it out."""
        if (earlier := self._held.runs.pop(key, None)) is not None:
            waiting[key] = waiting[key].after(earlier)
        what = f"{key.study} #{key.number}"
        with self._refusals.one(what):
            self._write_run(key, waiting[key])
        update = waiting.pop(key)
        if self._refusals.holds(what) or self._refusals.holds(evaluation_of(*key)):
            if len(self._held.runs) < _MAX_HELD:
                self._held.runs[key] = update
            else:
                self._refusals.give_up(what)

    def _write_run(self, key: RunKey, update: RunUpdate) -> None:
        name, backbone = naming.split_study(key.study)
        task = self._task(name)
        run_id = naming.child_run_id(self._info.sweep_id, name, backbone, key.number)
        facts, run, dataset = update.facts, task.known(self._store, run_id), self._datasets.get(name)
        tags: dict[str, str] = {}
        params: dict[str, str] = {}
        if facts is not None:
            short = self._labels.short(backbone)
            params = naming.run_params(facts, short, dataset)
            tags = self._labels.child_tags(task, backbone, dataset) | naming.child_tags(facts, short)
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
        if facts is not None and dataset is not None:
            splits, share = contexts_of(facts["phase"]), facts.get("train_frac", 1.0)
            self._store.log_inputs(run, data_inputs(dataset, splits, train_frac=share))
        if update.started is not None and update.finished is None and self._live:
            self._store.set_status(run, "RUNNING")
        if update.finished is None:
            self._store.log(run, params=params, tags=tags, points=new_epoch_points(run, update))
        else:
            end_run(self._store, self._refusals, run, update, params=params, tags=tags)
            if (trial := update.finished.trial)["state"] == "failed":
                with self._refusals.one(f"traceback of {key.study} #{key.number}", file=True):
                    log_traceback(self._store, run, self._info.folder, trial)
            self.written.add(run_id)
            run.shed()

    def _publish(self, publication: Published) -> bool:
        """Returns whether all of it was taken."""
        refused: list[bool] = []
        for name in self._info.tasks:
            what = f"ranking of {name}"
            with self._refusals.one(what):
                task = self._task(name)
                refused.append(not self._publisher.publish(publication, task, self._datasets.get(name)))
                if any(naming.is_model_run_id(run_id) for run_id in task.runs):
                    self.ranked.add(name)
                if publication.ranking is not None and not publication.is_interim:
                    rows = [row for row in publication.ranking.to_pylist() if row["task"] == name]
                    self._measured[name] = common_metrics(rows, publication.more)
                    self._write_views(name, task.experiment_id, task.tags)
            refused.append(self._refusals.holds(what))
        return not any(refused)

    def _task(self, name: str) -> TaskRuns:
        try:
            return self._tasks[name]
        except KeyError:
            raise RefusedError(f"the task {name!r} has no experiment to write to") from None
