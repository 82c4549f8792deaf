"""Tuned networks in MLflow: once, whole, with their scores, replaced with the winner, and in the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_model import PNG, make_model
from made_sweep import MadeSweep
from mlflow_server import Server

from orchestrator.tracking import ModelInfo, Recorded, add_to_registry, replay, write_model_folder
from orchestrator.tracking.naming import model_run_id
from orchestrator.tracking.store import Store
from trainables.exported import read_facts

pytestmark = pytest.mark.slow

SWEEP = MadeSweep(num_trials=1, num_confirmations=1)
FIRST, SECOND = SWEEP.backbones


def info(folder: Path, backbone: str = FIRST, **made: Any) -> ModelInfo:
    facts = make_model(folder, backbone=backbone, **made)
    return ModelInfo(task="digits", backbone=backbone, number=4, folder=folder, facts=facts, card="# card\n")


def told(uri: str, tmp_path: Path, models: Mapping[str, ModelInfo]) -> tuple[bool, list[str]]:
    """Whether MLflow took everything, and what was said."""
    said: list[str] = []
    summary = replay(
        SWEEP.info,
        uri,
        Recorded(**SWEEP.tables()),
        SWEEP.publication(tmp_path / "files", models={("digits", name): model for name, model in models.items()}),
        datasets=[SWEEP.dataset],
        say=said.append,
    )
    return summary.complete, said


def held(uri: str) -> tuple[Any, list[Any]]:
    """A client, and the models that MLflow shows."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("adapt/digits")
    return client, list(client.search_logged_models([experiment.experiment_id]))


def test_each_network_is_there_once_and_whole(store_uri: str, tmp_path: Path) -> None:
    models = {name: info(tmp_path / name.replace("/", "-"), name) for name in (FIRST, SECOND)}
    for _ in range(2):
        assert told(store_uri, tmp_path, models) == (True, [])
    client, found = held(store_uri)
    assert {model.tags["orchestrator.backbone"]: str(model.status) for model in found} == {
        FIRST: "READY",
        SECOND: "READY",
    }
    [model] = [model for model in found if model.tags["orchestrator.backbone"] == FIRST]
    assert model.params["freeze_depth"] == "2"
    assert (model.tags["mlflow.user"], model.tags["orchestrator.sweep_id"]) == ("ada", SWEEP.sweep_id)
    data = SWEEP.dataset
    assert {(m.key, m.value, m.dataset_name, m.dataset_digest) for m in model.metrics} == {
        ("model/test_accuracy", 0.8, f"{data.name}-test", data.digest[:36]),
        ("model/val_accuracy", 0.5, f"{data.name}-val", data.digest[:36]),
    }
    run = client.get_run(model.source_run_id)
    assert run.data.tags["orchestrator.run_id"] == model_run_id(SWEEP.sweep_id, "digits", FIRST)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert run.info.status == "FINISHED"


def test_the_folder_is_a_model_of_mlflow(tmp_path: Path) -> None:
    from mlflow.models import Model

    made = info(tmp_path / "made")
    write_model_folder(tmp_path / "model", made)
    model = Model.load(str(tmp_path / "model"))
    assert model.flavors["python_function"]["loader_module"] == "trainables.exported.pyfunc"
    assert [column.name for column in model.signature.outputs.inputs] == list(made.facts.output_columns)
    example = model.load_input_example(str(tmp_path / "model"))
    assert example.to_dict("list") == {"image": [PNG]}
    assert read_facts(tmp_path / "model") == read_facts(made.folder)
    assert (tmp_path / "model" / "README.md").read_text() == "# card\n"
    pinned = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert {"torch", "timm" if FIRST.startswith("timm") else "torchvision"} <= {
        line.partition("==")[0] for line in pinned
    }
    assert all("==" in line and "+" not in line for line in pinned), "versions that an index has"
    code = tmp_path / "model" / "code" / "trainables"
    assert (code / "exported" / "pyfunc.py").exists()
    assert (code / "facts.json").exists()
    assert not list(code.rglob("*.pyc"))


def test_another_winner_takes_the_place_of_the_one_before(store_uri: str, tmp_path: Path) -> None:
    told(store_uri, tmp_path, {FIRST: info(tmp_path / "one")})
    other = info(tmp_path / "two", weights=b"others", test_score=0.9)
    assert told(store_uri, tmp_path, {FIRST: other}) == (True, [])
    _, [model] = held(store_uri)
    assert model.tags["orchestrator.weights_sha256"] == other.facts.weights_digest
    assert {m.key: m.value for m in model.metrics}["model/test_accuracy"] == 0.9


def test_what_was_cut_off_is_made_anew_and_costs_nothing_else(
    store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = info(tmp_path / "one")
    call = Store.call

    def failing(self: Store, name: str, /, *args: Any, **named: Any) -> Any:
        if name == "log_model_artifacts":
            raise OSError(28, "No space left on device")
        return call(self, name, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "call", failing)
        complete, said = told(store_uri, tmp_path, {FIRST: made})
    assert not complete
    assert f"model of {FIRST} on digits: [Errno 28] No space left on device" in said[0]
    client, [left] = held(store_uri)
    assert str(left.status) == "PENDING"
    runs = client.search_runs([left.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert told(store_uri, tmp_path, {FIRST: made}) == (True, [])
    _, [model] = held(store_uri)
    assert (str(model.status), model.model_id != left.model_id) == ("READY", True)


def test_a_link_that_was_cut_off_is_made_once(store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = info(tmp_path / "one")
    call = Store.call

    def failing(self: Store, name: str, /, *args: Any, **named: Any) -> Any:
        if name == "set_logged_model_tags":
            raise OSError("the answer was lost")
        return call(self, name, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "call", failing)
        assert not told(store_uri, tmp_path, {FIRST: made})[0]
    assert told(store_uri, tmp_path, {FIRST: made}) == (True, [])
    client, [model] = held(store_uri)
    assert len(client.get_run(model.source_run_id).outputs.model_outputs) == 1


def test_a_version_in_the_registry_of_a_database(store_uri: str, tmp_path: Path) -> None:
    require_registered_once(store_uri, tmp_path, "digits best")


def test_a_version_in_the_registry_of_a_server(server: Server, tmp_path: Path) -> None:
    require_registered_once(server.uri, tmp_path, f"of a server {tmp_path.name}")


def require_registered_once(uri: str, tmp_path: Path, name: str) -> None:
    made = info(tmp_path / "one", weights=str(tmp_path).encode())
    assert add_to_registry(uri, SWEEP.sweep_id, made, name) is None, "MLflow has not been told of it"
    assert told(uri, tmp_path, {FIRST: made}) == (True, [])
    first, again = (add_to_registry(uri, SWEEP.sweep_id, made, name) for _ in range(2))
    assert first is not None
    assert again is not None
    assert (first.uri, first.is_new, again.uri, again.is_new) == (f"models:/{name}/1", True, f"models:/{name}/1", False)
    client, found = held(uri)
    [tag] = [model.tags["mlflow.modelVersions"] for model in found if "mlflow.modelVersions" in model.tags]
    assert json.loads(tag) == [{"name": name, "version": 1}]
    [version] = client.search_model_versions(f"name = '{name}'")
    assert version.tags["test_accuracy"] == "0.8"
    assert version.tags["orchestrator.sweep_id"] == SWEEP.sweep_id
    assert client.get_model_version_by_alias(name, "latest-sweep").version == version.version
    import mlflow.artifacts

    local = mlflow.artifacts.download_artifacts(
        artifact_uri=client.get_model_version_download_uri(name, version.version), tracking_uri=uri
    )
    assert json.loads((Path(local) / "data" / "model" / "model.json").read_text())["backbone"] == FIRST
