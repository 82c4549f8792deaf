"""A thin writer over `MlflowClient`: find or create, and send only what is not there yet.

Every call that leaves the process is made here, and fails with one of the errors of `failure` or, where
mlflow lets a library's own through, with that.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.tracking import environment
from orchestrator.tracking.database import Database, dispose, make_database
from orchestrator.tracking.failure import ConflictError, ForbiddenError, RefusedError, calling
from orchestrator.tracking.inputs import DataInput
from orchestrator.tracking.location import artifact_root, kind, sqlite_path
from orchestrator.tracking.metric import EPOCH_GROUPS, Point, finite
from orchestrator.tracking.naming import RUN_ID_TAG, SWEEP_ID_TAG
from orchestrator.tracking.stored_run import StoredRun, stored_run

__all__ = ["Store", "StoredRun"]

NOT_FINITE_TAG: Final = "orchestrator.not_finite"
_PAGE: Final = 1000
_MAX_POINTS: Final = 1000  # MLflow's limits per call
_MAX_PAIRS: Final = 100
_MAX_TAG: Final = 5000
_IMAGE: Final = re.compile(
    r"images/(?P<key>.+)[+%]step[+%](?P<step>\d+)[+%]timestamp[+%].+?(?P<kind>\.png|[+%]compressed\.webp)"
)
"""How MLflow names what `log_image` writes: the picture, and a small copy of it. In the key ``~`` is a slash."""


class Store:
    """One tracking URI."""

    def __init__(
        self,
        tracking_uri: str,
        *,
        artifact_location: str | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._uri = tracking_uri
        self._artifacts = artifact_location or artifact_root(tracking_uri)
        self._stopped = stopped
        self._client: Any = None
        self._database: Database | None = None
        self._entities: Any = None

    def connect(self) -> None:
        """Import mlflow and make a client; a new SQLite database is migrated here (6 to 9 s). A second call only
        looks whether the database is still there."""
        if self._client is not None:
            if self._database is not None:
                self._database.check(self._client)
            return
        environment.prepare()
        try:
            import mlflow.entities
            from mlflow import MlflowClient
        except ImportError as error:
            raise ForbiddenError(f"mlflow cannot be imported: {error}") from error
        environment.quieten()
        path = sqlite_path(self._uri) if kind(self._uri) == "sqlite" else None
        with calling(self._stopped):
            if path is not None:
                make_database(path, MlflowClient)
                self._database = Database(path)
            self._client = MlflowClient(tracking_uri=self._uri)
            if path is not None:
                dispose(self._client)  # of a client before it, which may have had another file there
        self._entities = mlflow.entities

    def experiment(self, name: str) -> tuple[str, dict[str, str]]:
        """Identity and tags of the experiment, created if it is not there."""
        found = self._call("get_experiment_by_name", name)
        if found is None:
            try:
                return str(self._call("create_experiment", name, artifact_location=self._artifacts)), {}
            except RefusedError:  # another sweep on this task was quicker
                found = self._call("get_experiment_by_name", name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise RefusedError(
                f"the experiment {name!r} was deleted; `mlflow experiments restore --experiment-id"
                f" {found.experiment_id}` brings it back"
            )
        return str(found.experiment_id), dict(found.tags)

    def tag_experiment(self, experiment_id: str, known: dict[str, str], tags: Mapping[str, str]) -> None:
        """Set the tags that differ from the `known` ones, and note them there."""
        for key, value in tags.items():
            if known.get(key) != value:
                self._call("set_experiment_tag", experiment_id, key, value)
                known[key] = value

    def runs(self, experiment_id: str, sweep_id: str, *, whole: bool = True) -> list[StoredRun]:
        """All active runs of a sweep, the oldest first."""
        found: list[tuple[int, StoredRun]] = []
        token = None
        while True:
            where = f"tags.`{SWEEP_ID_TAG}` = '{sweep_id}'"
            page = self._call("search_runs", [experiment_id], filter_string=where, max_results=_PAGE, page_token=token)
            found += [(run.info.start_time, stored_run(run, whole=whole)) for run in page]
            token = page.token
            if not token:
                break
        return [run for _, run in sorted(found, key=lambda pair: (pair[0], pair[1].id))]

    def create_run(
        self, experiment_id: str, *, run_id: str, name: str, tags: Mapping[str, str], start_ms: int
    ) -> StoredRun:
        """A new run, RUNNING."""
        tags = {**tags, RUN_ID_TAG: run_id}
        made = self._call("create_run", experiment_id, start_time=start_ms, tags=tags, run_name=name)
        return StoredRun(
            id=made.info.run_id, run_id=run_id, experiment_id=experiment_id, status="RUNNING", tags=dict(tags)
        )

    def log(
        self,
        run: StoredRun,
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        points: Iterable[Point] = (),
        again: bool = False,
    ) -> None:
        """Send what is not there yet, in as few calls as MLflow allows.

        A parameter that is there stays as it is. A point is there when its metric has a value at its step;
        with `again` a new value is added, and MLflow shows the latest.
        """
        kept, dropped = finite(points)
        new_points = [p for p in kept if self._is_new(run, p, again)]
        new_params = {k: v for k, v in (params or {}).items() if k not in run.params}
        tags = dict(tags or {})
        if dropped:
            words = {*run.tags.get(NOT_FINITE_TAG, "").split(), *dropped}
            tags[NOT_FINITE_TAG] = " ".join(sorted(words))[:_MAX_TAG]
        new_tags = {k: v for k, v in tags.items() if run.tags.get(k) != v}
        self._send(run, new_params, new_tags, new_points)
        run.params |= new_params
        run.tags |= new_tags
        for point in new_points:
            run.points.setdefault(point.key, {})[point.step] = point.value

    def steps(self, run: StoredRun) -> set[int]:
        """Steps at which any of the per-epoch metrics has a value."""
        for key in sorted(key for key in run.unread if key.startswith(EPOCH_GROUPS)):
            self._read(run, key)
        per_epoch = (by_step for key, by_step in run.points.items() if key.startswith(EPOCH_GROUPS))
        return {step for by_step in per_epoch for step in by_step}

    def set_status(self, run: StoredRun, status: str, end_ms: int | None = None) -> None:
        """Move a run to a status it does not have yet."""
        if run.status == status:
            return
        if status == "RUNNING":
            self._call("update_run", run.id, status=status)
        else:
            self._call("set_terminated", run.id, status=status, end_time=end_ms)
        run.status = status

    def delete(self, run: StoredRun) -> None:
        """Move a run to MLflow's bin, from which it can be restored."""
        self._call("delete_run", run.id)

    def log_inputs(self, run: StoredRun, inputs: Iterable[DataInput]) -> None:
        """Name the data that a run read, what is not named yet."""
        entities = self._entities
        new = [data for data in inputs if data.name not in run.inputs]
        if not new:
            return
        named = [
            entities.DatasetInput(
                dataset=entities.Dataset(
                    name=data.name, digest=data.digest, source_type="local", source=data.source, profile=data.profile
                ),
                tags=[entities.InputTag(key=key, value=value) for key, value in data.tags.items()],
            )
            for data in new
        ]
        self._call("log_inputs", run.id, datasets=named)
        run.inputs.update(data.name for data in new)

    def images(self, run: StoredRun) -> set[tuple[str, int]]:
        """Key and step of every picture that `log_image` has put on a run with its small copy."""
        halves: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        for entry in self._call("list_artifacts", run.id, "images"):
            if (match := _IMAGE.fullmatch(entry.path)) is not None:
                halves[re.sub("[~#]", "/", match["key"]), int(match["step"])].add(match["kind"])
        return {place for place, kinds in halves.items() if len(kinds) == 2}

    def log_image(self, run: StoredRun, file: Path, *, key: str, step: int, timestamp_ms: int) -> None:
        """A picture for the slider of `key`, which MLflow's pages show at `step`."""
        from PIL import Image

        with calling(self._stopped), Image.open(file) as image:
            self._call("log_image", run.id, image, key=key, step=step, timestamp=timestamp_ms, synchronous=True)

    def log_text(self, run: StoredRun, text: str, artifact_path: str) -> None:
        """A small text as a file of the run."""
        self._call("log_text", run.id, text, artifact_path)

    def log_file(self, run: StoredRun, local: Path, artifact_path: str) -> None:
        """A local file, under the path and name it shall have in MLflow."""
        folder, _, name = artifact_path.rpartition("/")
        with calling(self._stopped), tempfile.TemporaryDirectory() as scratch:
            if local.name != name:
                local = Path(shutil.copyfile(local, Path(scratch) / name))
            self._call("log_artifact", run.id, str(local), folder or None)

    def _is_new(self, run: StoredRun, point: Point, again: bool) -> bool:
        if point.key in run.unread:
            self._read(run, point.key)
        known = run.points.get(point.key, {})
        return point.step not in known or (again and known[point.step] != point.value)

    def _read(self, run: StoredRun, key: str) -> None:
        history = self._call("get_metric_history", run.id, key)
        run.points[key] = {m.step: m.value for m in sorted(history, key=lambda m: m.timestamp)}
        run.unread.discard(key)

    def _send(self, run: StoredRun, params: Mapping[str, str], tags: Mapping[str, str], points: list[Point]) -> None:
        entities = self._entities
        metrics = [entities.Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points]
        pairs = [entities.Param(k, v) for k, v in params.items()]
        labels = [entities.RunTag(k, v) for k, v in tags.items()]
        while metrics or pairs or labels:  # tags last: they may say that the rest is there
            now_pairs, pairs = pairs[:_MAX_PAIRS], pairs[_MAX_PAIRS:]
            room = _MAX_POINTS - len(now_pairs)
            now_metrics, metrics = metrics[:room], metrics[room:]
            room = 0 if metrics or pairs else min(_MAX_PAIRS, room - len(now_metrics))
            now_labels, labels = labels[:room], labels[room:]
            self._call("log_batch", run.id, metrics=now_metrics, params=now_pairs, tags=now_labels)

    def call(self, name: str, /, *args: Any, **named: Any) -> Any:
        """Any other method of mlflow's client. Raises one of the errors of `failure`."""
        return self._call(name, *args, **named)

    def _call(self, name: str, /, *args: Any, **named: Any) -> Any:
        """Of mlflow's client; a second time where another writer was quicker to insert the same."""
        for is_last in (False, True):
            try:
                with calling(self._stopped):
                    return getattr(self._client, name)(*args, **named)
            except ConflictError:
                if is_last:
                    raise
        return None
