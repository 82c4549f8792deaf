"""What MLflow holds of a sweep, read with its own client and freed of what differs between two stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from made_sweep import MadeSweep

__all__ = ["Held", "artifacts", "experiment_tags", "held"]


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

    datasets: tuple[tuple[str, str], ...]
    """(context, name), sorted."""

    times: tuple[int, int | None]


def held(uri: str, sweep: MadeSweep) -> dict[str, Held]:
    """By our own identity; fails on an identity that is there twice."""
    client = _client(uri)
    runs = _runs(client, f"tags.`orchestrator.sweep_id` = '{sweep.sweep_id}'")
    ids = {run.info.run_id: run.data.tags["orchestrator.run_id"] for run in runs}
    assert len(set(ids.values())) == len(runs), "an identity is there twice"
    return {ids[run.info.run_id]: _held(client, run, ids) for run in runs}


def experiment_tags(uri: str) -> dict[str, str]:
    """Of the made sweep's experiment."""
    return dict(_client(uri).get_experiment_by_name("adapt/digits").tags)


def artifacts(uri: str, run_id: str) -> dict[str, str]:
    """Text of every file of a run, by path; none of a picture."""
    import mlflow.artifacts

    client = _client(uri)
    [run] = _runs(client, f"tags.`orchestrator.run_id` = '{run_id}'")
    paths, folders = [], [""]
    while folders:
        for entry in client.list_artifacts(run.info.run_id, folders.pop()):
            (folders if entry.is_dir else paths).append(entry.path)
    root = run.info.artifact_uri
    mlflow.set_tracking_uri(uri)
    texts = [path for path in paths if not path.endswith(".png")]
    return {path: mlflow.artifacts.load_text(f"{root}/{path}") if path in texts else "" for path in paths}


def _runs(client: Any, where: str) -> list[Any]:
    experiment = client.get_experiment_by_name("adapt/digits")
    return list(client.search_runs([experiment.experiment_id], where, max_results=1000))


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


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
        datasets=tuple(sorted((i.tags[0].value, i.dataset.name) for i in inputs)),
        times=(run.info.start_time, run.info.end_time),
    )
