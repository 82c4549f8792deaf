"""A made-up sweep, logged live into real stores and read back, and written again from its records."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from made_sweep import BACKBONES, START, VERDICT, MadeSweep, as_started
from mlflow_server import Server
from read_back import Held, artifacts, experiment_tags, held

from orchestrator.tracking import Published, Recorded, Tracker, TrackingSummary, replay, tracker
from orchestrator.tracking.color import colors
from orchestrator.tracking.metric import EPOCH_GROUPS
from orchestrator.tracking.view import decode

pytestmark = pytest.mark.slow

SECOND = BACKBONES[1]
DATASETS = tuple((context, f"digits-{context}", "d" * 36) for context in ("test", "train", "val"))
"""Of the sweep's own run, of backbones and of confirmations: a searched trial shows nothing of the test split."""

SLIDERS = [
    *("explanation~samples 0 .png", "explanation~samples 0 .webp"),
    *("explanation~samples 1 .png", "explanation~samples 1 .webp"),
    *("pictures~saliency 0 .png", "pictures~saliency 0 .webp"),
]
_SLIDER = re.compile(r"images/(.+)\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f-]+(?:\+compressed)?(\.\w+)")


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that start, epochs and end of a run reach the store in different calls."""
    monkeypatch.setattr(tracker, "_BATCH_S", 0.01)
    monkeypatch.chdir(tmp_path)


def unheard(message: str) -> None:
    """A `say` for when nothing may be said."""
    raise AssertionError(message)


def log_live(sweep: MadeSweep, uri: str, folder: Path, pause_s: float = 0.02) -> TrackingSummary:
    """The whole of a sweep, through a tracker."""
    said: list[str] = []
    made = Tracker(sweep.info, uri, say=said.append)
    made.start()
    for _ in sweep.calls(made):
        time.sleep(pause_s)
    made.publish(sweep.publication(folder))
    summary = made.close(timeout_s=60, status="FINISHED")
    assert said == []
    return summary


def write_again(sweep: MadeSweep, uri: str, folder: Path, **changes: Any) -> TrackingSummary:
    """The whole of a sweep, from its records.

    Args:
        changes: of what is recorded, of what is published, or of what `replay` takes.
    """
    records: dict[str, Any] = {**sweep.tables(), "evaluations": sweep.evaluations()}
    recorded = Recorded(**(records | _taken(changes, Recorded)))
    publication = sweep.publication(folder, **_taken(changes, Published))
    given: dict[str, Any] = {"datasets": [sweep.dataset], "say": unheard}
    return replay(sweep.info, uri, recorded, publication, **(given | changes))


def _taken(changes: dict[str, Any], kind: type) -> dict[str, Any]:
    """Those that are fields of `kind`, taken out."""
    return {field.name: changes.pop(field.name) for field in fields(kind) if field.name in changes}


def without_times(runs: dict[str, Held]) -> dict[str, Held]:
    """For comparing the same sweep in two stores."""
    return {run_id: replace(run, times=(0, None)) for run_id, run in runs.items()}


def check_sweep(uri: str, sweep: MadeSweep) -> dict[str, Held]:
    """Every run of a made sweep is as it should be."""
    runs = held(uri, sweep)
    trials = sweep.trials()
    assert len(runs) == 1 + len(trials) + len(BACKBONES)
    parent_id = f"{sweep.sweep_id}/digits"
    for trial in trials:
        run = runs[f"{parent_id}/{trial['backbone']}/{trial['number']}"]
        confirms = trial["phase"] == "confirmation"
        assert run.parent == parent_id
        assert run.status == ("FAILED" if trial["state"] == "failed" else "FINISHED")
        assert run.tags["orchestrator.role"] == ("confirm" if confirms else "trial")
        assert ("orchestrator.stopped_early" in run.tags) == (trial["state"] == "stopped")
        assert ("orchestrator.error" in run.tags) == (trial["state"] == "failed")
        assert run.tags["mlflow.runColor"] == colors(BACKBONES)[trial["backbone"]]
        assert ("final/test_score" in run.points) == confirms
        assert run.params["freeze_depth"] == str(trial["freeze_depth"])
        assert ("lr_log10" in run.params) == (trial["learning_rate"] is not None)
        for key, points in run.points.items():
            per_epoch = key.startswith(EPOCH_GROUPS)
            assert [step for step, _ in points] == (list(range(1, trial["epochs"] + 1)) if per_epoch else [0])
        assert "train/loss" in run.points
        on_gpu = trial["backbone"] == BACKBONES[0]
        assert run.points["system/cpu_cores"] == [(epoch, 0.75) for epoch in range(1, trial["epochs"] + 1)]
        assert ("system/gpu_mem_mib" in run.points) == ("system/gpu_util" in run.points) == on_gpu
        assert run.points["time/elapsed_s"][0] == (1, 3.0)
        assert run.datasets == tuple(data for data in DATASETS if confirms or data[0] != "test")
        assert run.tags["modality"] == "image"
        assert run.times == tuple(int(trial[name].timestamp() * 1000) for name in ("started_at", "finished_at"))
    check_parent(runs[parent_id], sweep)
    model = runs[f"{parent_id}/{SECOND}/model"]
    assert (model.status, model.name, model.parent) == ("FINISHED", "tf_efficientnet_lite0", parent_id)
    assert model.points["adapt/score"] == [(0, 0.7)]
    assert model.points["final/test_score"] == [(0, 0.8)]
    assert (model.points["adapt/coverage"], model.points["adapt/num_superseded"]) == ([(0, 0.75)], [(0, 0)])
    assert model.datasets == DATASETS
    assert runs[f"{parent_id}/{BACKBONES[0]}/model"].tags["orchestrator.reason"] == "no confirmation"
    return runs


def copied(uri: str) -> str:
    """A second store, as empty as the first."""
    path = Path(uri.removeprefix("sqlite:///"))
    return f"sqlite:///{shutil.copyfile(path, path.with_name('elsewhere.db'))}"


def check_parent(parent: Held, sweep: MadeSweep) -> None:
    """The sweep's own run."""
    assert (parent.status, parent.parent) == ("FINISHED", "")
    assert parent.params == {"search.sampler": "tpe", "budget.trials": str(sweep.num_trials), "budget.seconds": "1.5"}
    assert parent.times[0] == int(START.timestamp() * 1000)
    assert VERDICT in parent.tags["mlflow.note.content"]
    assert parent.tags["mlflow.source.git.dirty"] == "true"
    assert parent.datasets == DATASETS
    best = {key.removeprefix("best/"): points for key, points in parent.points.items() if key.startswith("best/")}
    ended = [row for row in sweep.trials() if row["phase"] == "random" and row["state"] != "failed"]
    assert best == {
        "score": [(0, 0.7)],
        "val_score": [(0, max(row["val_score"] for row in ended))],
        "val_accuracy": [(0, max(row["val_accuracy"] for row in ended))],
        "val_f1_macro": [(0, max(row["val_f1_macro"] for row in ended))],
        "val_loss": [(0, 0.333333)],
    }


def check_experiment(uri: str, sweep: MadeSweep) -> None:
    """Views, note, kind and files."""
    tags = experiment_tags(uri)
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert VERDICT in tags["mlflow.note.content"]
    views = [decode(v).name for k, v in tags.items() if k.startswith("mlflow.sharedViewState.")]
    assert sorted(name[0] for name in views) == ["0", "1", "2", "3"]
    files = artifacts(uri, f"{sweep.sweep_id}/digits")
    assert set(files) == {"config/sweep.yaml", "report.html", "tables/ranking.csv"}
    assert files["tables/ranking.csv"] == "backbone,score\n"
    assert "hunter2" not in files["config/sweep.yaml"]


def sliders(paths: Iterable[str]) -> list[str]:
    """Key, step and kind of each picture that MLflow's pages show."""
    return sorted(_SLIDER.sub(r"\1 \2 \3", path) for path in paths)


def check_evaluations(uri: str, sweep: MadeSweep) -> None:
    """What was measured of confirmations is on their runs, and its means on the backbones'."""
    runs = held(uri, sweep)
    for study, number in sweep.evaluations():
        run_id = f"{sweep.sweep_id}/digits/{study.partition(':')[2]}/{number}"
        run, files = runs[run_id], artifacts(uri, run_id)
        expected = {
            "ece": 0.1 * (1 + number - sweep.num_trials),
            "ece_temperature_scaled": 0.05,
            "loss_train": 0.25,
            "robust": -0.2,
            "robust_gaussian_noise": -0.3,
            "attacked_fgsm_0.031": 0.1,
            "faithful_lime": 0.3,
            "flops": 1e6,
        }
        found = {key.removeprefix("final/"): points for key, points in run.points.items()}
        assert {key: found.get(key) for key in expected} == {key: [(0, value)] for key, value in expected.items()}
        assert not {"accuracy", "auroc", "f1", "perturbed_acc", "reliability_accuracy"} & found.keys()
        plain = {path for path in files if not path.startswith("images/")}
        assert plain == {
            *("measures.json", "confusion.json", "notes.txt", "pictures/captions.json", "pictures/saliency.png"),
            *("pictures/explanation_0.png", "pictures/explanation_1.png"),
        }
        assert sliders(files.keys() - plain) == SLIDERS, "one of each, however often it is written"
        assert run.tags["mlflow.loggedImages"] == "True"
        table = json.loads(files["measures.json"])
        assert (table["columns"], len(table["data"])) == (["name", "condition", "split", "value"], 13)
        assert json.loads(files["confusion.json"]) == {
            "columns": ["true", "ant", "bee"],
            "data": [["ant", 3, 1], ["bee", 0, 4]],
        }
        assert {entry["path"] for entry in json.loads(run.tags["mlflow.loggedArtifacts"])} == {
            "measures.json",
            "confusion.json",
        }
        assert run.tags["orchestrator.evaluation_error"] == "evaluation failed: attacks: why"
    for backbone in BACKBONES:
        points = runs[f"{sweep.sweep_id}/digits/{backbone}/model"].points
        assert points["final/ece"] == [(0, pytest.approx(0.15))], "the mean over both"
        assert points["screen/log_me"] == [(0, 1.25)]
        assert "screen/leep" not in points
        files = artifacts(uri, f"{sweep.sweep_id}/digits/{backbone}/model")
        assert sliders(files) == SLIDERS, "backbones compare by the pictures of a confirmation"
    trial = runs[f"{sweep.sweep_id}/digits/{BACKBONES[0]}/0"]
    assert not {"final/ece", "final/flops"} & trial.points.keys()


def test_evaluations_live_then_replayed_there_and_elsewhere(store_uri: str, tmp_path: Path) -> None:
    sweep = MadeSweep(num_trials=1, num_confirmations=2, pictures=tmp_path / "pictures")
    elsewhere = copied(store_uri)
    assert log_live(sweep, store_uri, tmp_path / "files").complete
    check_evaluations(store_uri, sweep)
    live = held(store_uri, sweep)
    assert write_again(sweep, store_uri, tmp_path / "files").complete
    assert held(store_uri, sweep) == live, "nothing is sent twice"
    check_evaluations(store_uri, sweep)
    assert write_again(sweep, elsewhere, tmp_path / "files").complete
    check_evaluations(elsewhere, sweep)
    assert without_times(held(elsewhere, sweep)) == without_times(live)


def test_a_picture_that_is_gone_is_told_and_made_up_for(store_uri: str, tmp_path: Path) -> None:
    sweep = MadeSweep(num_trials=1, num_confirmations=1, pictures=tmp_path / "pictures")
    gone = {key: replace(one, pictures=tmp_path / "gone") for key, one in sweep.evaluations().items()}
    said: list[str] = []
    summary = write_again(sweep, store_uri, tmp_path / "files", evaluations=gone, say=said.append)
    assert (summary.complete, summary.runs_written) == (False, 4), "the runs are there all the same"
    assert "evaluation of digits:" in said[0]
    assert write_again(sweep, store_uri, tmp_path / "files").complete
    check = artifacts(store_uri, f"{sweep.sweep_id}/digits/{BACKBONES[0]}/1")
    assert "pictures/saliency.png" in check


def test_sqlite_live_then_replayed_there_and_elsewhere(store_uri: str, tmp_path: Path) -> None:
    sweep = MadeSweep()
    elsewhere = copied(store_uri)
    summary = log_live(sweep, store_uri, tmp_path / "files")
    assert (summary.complete, summary.error, summary.runs_written) == (True, None, 10)
    assert "viewStateShareKey=" in summary.links["digits"].url
    live = check_sweep(store_uri, sweep)
    check_experiment(store_uri, sweep)
    assert write_again(sweep, store_uri, tmp_path / "files").complete
    assert held(store_uri, sweep) == live
    assert not (tmp_path / "mlruns").exists()
    assert (tmp_path / "store" / "mlartifacts").is_dir()

    again = write_again(sweep, elsewhere, tmp_path / "files")
    assert (again.complete, again.runs_written) == (True, 10)
    replayed = check_sweep(elsewhere, sweep)
    check_experiment(elsewhere, sweep)
    assert without_times(replayed) == without_times(live)
    assert write_again(sweep, elsewhere, tmp_path / "files").complete
    assert held(elsewhere, sweep) == replayed


def test_server_live_then_replayed(server: Server, tmp_path: Path) -> None:
    sweep = MadeSweep()
    summary = log_live(sweep, server.uri, tmp_path / "files", pause_s=0.05)
    assert (summary.complete, summary.error, summary.runs_written) == (True, None, 10)
    assert summary.links["digits"].command is None
    live = check_sweep(server.uri, sweep)
    check_experiment(server.uri, sweep)
    assert write_again(sweep, server.uri, tmp_path / "files").complete
    assert held(server.database, sweep) == live


def test_an_interrupted_sweep_is_completed_after_its_resume(store_uri: str, tmp_path: Path) -> None:
    sweep = MadeSweep()
    first = Tracker(sweep.info, store_uri, say=unheard)
    first.start()
    for number, _ in enumerate(sweep.calls(first)):
        if number == 3:  # within the first trial, after its second epoch
            break
    assert first.close(timeout_s=60, status="KILLED").complete
    left = held(store_uri, sweep)
    trial = f"{sweep.sweep_id}/digits/{BACKBONES[0]}/0"
    assert {run_id: run.status for run_id, run in left.items()} == {
        f"{sweep.sweep_id}/digits": "KILLED",
        trial: "KILLED",
    }
    assert [step for step, _ in left[trial].points["val/loss"]] == [1, 2]
    log_live(sweep, store_uri, tmp_path / "files")  # sends the first two epochs again
    check_sweep(store_uri, sweep)


def test_a_running_sweep_is_left_running_by_a_replay_from_beside_it(store_uri: str, tmp_path: Path) -> None:
    sweep = MadeSweep(num_trials=1, num_confirmations=0)
    driver = Tracker(sweep.info, store_uri, say=unheard)
    driver.start()
    driver.run_started(as_started(sweep.trials()[0]))
    time.sleep(1.5)
    none = {name: table.slice(0, 0) for name, table in sweep.tables().items()}
    beside = write_again(sweep, store_uri, tmp_path / "files", **none, ranking=None, verdicts={}, status=None)
    assert beside.complete
    assert {run.status for run in held(store_uri, sweep).values()} == {"RUNNING"}
    write_again(sweep, store_uri, tmp_path / "files", **none, ranking=None, verdicts={}, status="KILLED")
    assert {run.status for run in held(store_uri, sweep).values()} == {"KILLED"}
    driver.close(timeout_s=60, status="KILLED")


def test_a_run_created_twice_is_reduced_to_one(store_uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    sweep = MadeSweep(num_trials=1, num_confirmations=0)
    write_again(sweep, store_uri, tmp_path / "files")
    before = held(store_uri, sweep)
    client = MlflowClient(tracking_uri=store_uri)
    experiment = client.get_experiment_by_name("adapt/digits").experiment_id
    tags = {"orchestrator.run_id": next(iter(before)), "orchestrator.sweep_id": sweep.sweep_id}
    client.create_run(experiment, tags=tags)
    assert write_again(sweep, store_uri, tmp_path / "files").complete
    assert held(store_uri, sweep) == before


def test_a_new_ranking_takes_the_place_of_the_old(store_uri: str, tmp_path: Path) -> None:
    sweep = MadeSweep(num_trials=1, num_confirmations=0)
    write_again(sweep, store_uri, tmp_path / "files")
    write_again(sweep, store_uri, tmp_path / "files", ranking=sweep.ranking(0.9))
    model = f"{sweep.sweep_id}/digits/{SECOND}/model"
    from mlflow import MlflowClient

    runs = MlflowClient(tracking_uri=store_uri).search_runs(["1"], f"tags.`orchestrator.run_id` = '{model}'")
    assert [run.data.metrics["adapt/score"] for run in runs] == [0.9]
    write_again(sweep, store_uri, tmp_path / "files", ranking=sweep.ranking(0.9))
    assert [value for _, value in held(store_uri, sweep)[model].points["adapt/score"]] == [0.7, 0.9]


def test_nan_and_infinity_are_named_and_not_drawn(store_uri: str) -> None:
    sweep = MadeSweep(num_trials=1, num_confirmations=0)
    trial, epochs = sweep.trials()[0], sweep.epochs()[:3]
    made = Tracker(sweep.info, store_uri, say=unheard)
    made.start()
    made.run_started(as_started(trial))
    made.epoch({**epochs[0], "val_loss": math.inf})
    time.sleep(0.5)
    made.epoch({**epochs[1], "val_loss": math.nan, "train_loss": -math.inf})
    made.run_finished({**trial, "state": "failed", "error": "diverged", "epochs": 2, "val_loss": math.nan}, None)
    assert made.close(timeout_s=60, status="FINISHED").complete
    run = held(store_uri, sweep)[f"{sweep.sweep_id}/digits/{BACKBONES[0]}/0"]
    assert run.tags["orchestrator.not_finite"] == "train/loss@2=-inf val/loss@1=inf val/loss@2=nan"
    assert run.points["train/loss"] == [(1, 1.0)]
    assert "val/loss" not in run.points
    assert run.tags["orchestrator.epochs"] == "2"


def test_one_bad_record_does_not_stop_the_others(store_uri: str, tmp_path: Path) -> None:
    sweep = MadeSweep()
    said: list[str] = []
    files = sweep.files(tmp_path / "files") | {"lost.html": tmp_path / "nowhere.html"}
    tables = sweep.tables()
    bad = [{**row, "config": "{not json" if row["number"] == 3 else row["config"]} for row in sweep.trials()]
    tables["trials"] = type(tables["trials"]).from_pylist(bad, tables["trials"].schema)
    summary = write_again(sweep, store_uri, tmp_path / "files", **tables, files=files, say=said.append)
    assert (summary.complete, summary.runs_written) == (False, 8)
    assert len(said) == 1
    assert "3 records were refused" in said[0]
    assert len(held(store_uri, sweep)) == 11


def test_a_deleted_experiment_is_named_with_the_way_back(store_uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store_uri)
    client.delete_experiment(client.create_experiment("adapt/digits"))
    said: list[str] = []
    assert not write_again(MadeSweep(), store_uri, tmp_path / "files", say=said.append).complete
    assert len(said) == 1
    assert "mlflow experiments restore --experiment-id 1" in said[0]
