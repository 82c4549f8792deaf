"""What MLflow holds of a sweep, read with its own client and freed of what differs between two stores."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Protocol

__all__ = ["Held", "Sweep", "artifacts", "content", "experiment_tags", "held", "models"]

_OWN_TAGS = ("orchestrator.linked", "mlflow.modelVersions")
"""Of a model: they name what is another's in another store."""

_IMAGE = re.compile(r"(images/.+)\+timestamp\+\d+\+[0-9a-f-]{36}")


class Sweep(Protocol):
    """Which one, and on which of its tasks."""

    @property
    def sweep_id(self) -> str: ...

    @property
    def task(self) -> str: ...


@dataclass(frozen=True)
class Held:
    """One run."""

    name: str
    status: str
    parent: str
    """Identity of the parent run; empty for a parent."""

    params: dict[str, str]
    tags: dict[str, str]
    points: dict[str, list[tuple[int, float]]]
    """(step, value) by metric, every point."""

    datasets: tuple[tuple[str, str, str], ...]
    """(context, name, digest), sorted."""

    times: tuple[int, int | None]


def held(uri: str, sweep: Sweep) -> dict[str, Held]:
    """By our own identity; fails on an identity that is there twice."""
    client = _client(uri)
    runs = _runs(client, sweep)
    ids = {run.info.run_id: run.data.tags["orchestrator.run_id"] for run in runs}
    assert len(set(ids.values())) == len(runs), "an identity is there twice"
    return {ids[run.info.run_id]: _held(client, run, ids) for run in runs}


def experiment_tags(uri: str, task: str = "digits") -> dict[str, str]:
    """Of a task's experiment."""
    return dict(_client(uri).get_experiment_by_name(f"adapt/{task}").tags)


def artifacts(uri: str, run_id: str) -> dict[str, str]:
    """Text of every file of a run, by path; none of a picture."""
    client = _client(uri)
    experiment = client.get_experiment_by_name(f"adapt/{run_id.split('/')[1]}")
    [run] = client.search_runs([experiment.experiment_id], f"tags.`orchestrator.run_id` = '{run_id}'")
    return _artifacts(client, uri, run)


def content(uri: str, sweep: Sweep) -> dict[str, Any]:
    """All there is of a sweep, kind by kind, as it would be in any other store: but for times and the random
    part of the names that MLflow gives to pictures."""
    client = _client(uri)
    files = {
        run.data.tags["orchestrator.run_id"]: {
            _IMAGE.sub(r"\1...", path): text for path, text in _artifacts(client, uri, run).items()
        }
        for run in _runs(client, sweep)
    }
    runs = {run_id: replace(run, times=(0, None)) for run_id, run in held(uri, sweep).items()}
    return {"runs": runs, "experiment": experiment_tags(uri, sweep.task), "files": files}


def models(uri: str, sweep: Sweep) -> dict[str, dict[str, Any]]:
    """Tuned networks by the identity of the summary run that they belong to; fails on one that is there twice."""
    client = _client(uri)
    experiment = client.get_experiment_by_name(f"adapt/{sweep.task}")
    where = f"tags.`orchestrator.sweep_id` = '{sweep.sweep_id}'"
    found = list(client.search_logged_models([experiment.experiment_id], filter_string=where))
    ids = {run.info.run_id: run.data.tags["orchestrator.run_id"] for run in _runs(client, sweep)}
    assert len({model.source_run_id for model in found}) == len(found), "a network is there twice"
    return {
        ids[model.source_run_id]: {
            "name": model.name,
            "status": str(model.status),
            "params": model.params,
            "tags": {name: value for name, value in model.tags.items() if name not in _OWN_TAGS},
            "metrics": sorted((m.key, m.value, m.dataset_name, m.dataset_digest) for m in model.metrics),
        }
        for model in found
    }


def _artifacts(client: Any, uri: str, run: Any) -> dict[str, str]:
    import mlflow.artifacts

    paths: list[str] = []
    folders = [""]
    while folders:
        for entry in client.list_artifacts(run.info.run_id, folders.pop()):
            (folders if entry.is_dir else paths).append(entry.path)
    root = run.info.artifact_uri
    mlflow.set_tracking_uri(uri)
    texts = [path for path in paths if not path.endswith((".png", ".webp", ".parquet"))]
    return {path: mlflow.artifacts.load_text(f"{root}/{path}") if path in texts else "" for path in paths}


def _runs(client: Any, sweep: Sweep) -> list[Any]:
    experiment = client.get_experiment_by_name(f"adapt/{sweep.task}")
    where = f"tags.`orchestrator.sweep_id` = '{sweep.sweep_id}'"
    return list(client.search_runs([experiment.experiment_id], where, max_results=1000))


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _context(data: Any) -> str:
    return str(next(tag.value for tag in data.tags if tag.key == "mlflow.data.context"))


def _held(client: Any, run: Any, ids: dict[str, str]) -> Held:
    tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
    points = {
        key: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))
        for key in run.data.metrics
    }
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return Held(
        name=run.info.run_name,
        status=run.info.status,
        parent=ids.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
        params=dict(run.data.params),
        tags=tags,
        points=points,
        datasets=tuple(sorted((_context(i), i.dataset.name, i.dataset.digest) for i in inputs)),
        times=(run.info.start_time, run.info.end_time),
    )
