"""From reports to rows: states are derived, nothing is believed, nothing is counted twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from twin import epoch_result, keep_checkpoint, leave_test, small_config

from orchestrator.evaluated import Evaluated, EvaluationFiles, leave_findings, read_evaluations
from orchestrator.folder import SweepFolder
from orchestrator.recorder import Recorder
from orchestrator.records import USAGE, USED
from orchestrator.workers.request import RunRequest
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.evaluate import Findings, Measure, Picture

NUM_BLOCKS = 18
REGRESSION_TEST = {
    **dict.fromkeys(("test_accuracy", "test_f1_macro", "correct")),
    "metric": "r2",
    "chance": 0.0,
    "test_score": 0.25,
    "test_r2": 0.25,
    "test_mae": 1.5,
    "test_mse": 4.0,
    "num_test": 2,
    "example_scores": [1.0, -0.5],
}


class Heard:
    """A listener that keeps what it is told, and checks that it was on disk by then."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self.started: list[Mapping[str, Any]] = []
        self.epochs: list[Mapping[str, Any]] = []
        self.finished: list[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = []
        self.evaluated: list[Evaluated | None] = []

    def run_started(self, run: Mapping[str, Any]) -> None:
        self.started.append(run)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.epochs.append(row)
        assert self.folder.epochs.read().num_rows == len(self.epochs)

    def run_finished(
        self, trial: Mapping[str, Any], test: Mapping[str, Any] | None, evaluated: Evaluated | None
    ) -> None:
        self.finished.append((trial, test))
        self.evaluated.append(evaluated)
        assert self.folder.trials.read().num_rows == len(self.finished)


class Scene:
    """One run with its recorder."""

    def __init__(self, storage: Path, **config: Any) -> None:
        self.folder = SweepFolder.create(storage, "s", "")
        self.heard = Heard(self.folder)
        self.recorder = Recorder(self.folder, [self.heard])
        task = small_config().tasks[0]
        self.request = RunRequest(
            number=0,
            phase="tpe",
            task=task,
            config=FinetuneConfig(backbone="timm/x@random", max_epochs=3, seed=5, **config or {"freeze_depth": 3}),
            num_threads=1,
            test_file=str(self.folder.test_file(0, 0)),
        )
        self.key = (self.request.study, 0)
        self.recorder.started(self.request, NUM_BLOCKS)

    def epochs(self, *scores: float) -> None:
        best = -1.0
        for epoch, score in enumerate(scores, 1):
            self.recorder.epoch(*self.key, epoch_result(epoch, score, best=score > best))
            best = max(best, score)

    def row(self) -> dict[str, Any]:
        [row] = self.folder.trials.read().to_pylist()
        return dict(row)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_completed_is_reaching_max_epochs_and_the_best_epoch_counts(scene: Scene) -> None:
    scene.epochs(0.5, 0.8)
    leave_test(scene.request)
    scene.recorder.finished(*scene.key, epoch_result(3, 0.6, best=False, done=True))
    row = scene.row()
    assert (row["state"], row["error"], row["epochs"], row["best_epoch"], row["val_score"]) == (
        "completed",
        None,
        3,
        2,
        0.8,
    )
    assert (row["train_s"], row["seed"], row["freeze_frac"]) == (pytest.approx(1.5), 5, 3 / NUM_BLOCKS)
    [test] = scene.folder.tests.read().to_pylist()
    assert (test["test_score"], test["correct"]) == (0.25, b"\xc0")
    assert [e["epoch"] for e in scene.heard.epochs] == [1, 2, 3]
    [(trial, heard_test)] = scene.heard.finished
    assert (trial["state"], heard_test and heard_test["test_score"]) == ("completed", 0.25)


def test_stopped_is_ending_before_max_epochs_whatever_ray_says(scene: Scene) -> None:
    scene.epochs(0.5)
    scene.recorder.finished(*scene.key, epoch_result(2, 0.6, done=True))
    row = scene.row()
    assert (row["state"], row["error"], row["epochs"], row["val_score"]) == ("stopped", None, 2, 0.6)
    assert len(scene.folder.tests.read()) == 0
    assert scene.heard.finished[0][1] is None


def test_a_stopped_trial_is_not_tested_even_where_a_test_was_left(scene: Scene) -> None:
    leave_test(scene.request)
    scene.recorder.finished(*scene.key, epoch_result(1, 0.6))
    assert scene.row()["state"] == "stopped"
    assert len(scene.folder.tests.read()) == 0


def test_diverged_is_failed_with_its_reason_and_without_an_epoch_row(scene: Scene) -> None:
    scene.epochs(0.5)
    scene.recorder.finished(
        *scene.key, {"epoch": 1, "error": "diverged: train loss is nan in epoch 2", "done": True, "node": "n"}
    )
    row = scene.row()
    assert (row["state"], row["error"]) == ("failed", "diverged: train loss is nan in epoch 2")
    assert (row["epochs"], row["val_score"], row["node"]) == (1, 0.5, "n")
    assert len(scene.folder.epochs.read()) == 1


def test_a_worker_that_died_tells_by_its_file(scene: Scene) -> None:
    scene.request.error_file.write_text("Traceback (most recent call last):\n  ...\nMemoryError: 3 GiB\n\n")
    scene.epochs(0.5)
    scene.recorder.finished(*scene.key, None, died=True)
    row = scene.row()
    assert (row["state"], row["error"], row["epochs"]) == ("failed", "MemoryError: 3 GiB", 1)
    assert row["duration_s"] >= 0


@pytest.mark.parametrize("left", [None, "", " \n\n"])
def test_a_worker_that_died_without_a_word(scene: Scene, left: str | None) -> None:
    if left is not None:
        scene.request.error_file.write_text(left)  # a full disk
    scene.recorder.finished(*scene.key, None, died=True)
    row = scene.row()
    assert (row["state"], row["epochs"], row["val_score"], row["best_epoch"]) == ("failed", 0, None, None)
    assert row["error"]


def test_a_worker_that_dies_after_its_last_epoch_has_failed(scene: Scene) -> None:
    scene.epochs(0.5, 0.6, 0.7)
    leave_test(scene.request)
    scene.recorder.finished(*scene.key, None, died=True)
    assert scene.row()["state"] == "failed"
    assert len(scene.folder.tests.read()) == 0


def test_all_epochs_without_a_test_measurement_is_failed_not_silently_completed(scene: Scene) -> None:
    scene.epochs(0.5, 0.6)
    scene.recorder.finished(*scene.key, epoch_result(3, 0.7, done=True))
    row = scene.row()
    assert row["state"] == "failed"
    assert str(scene.request.test_file) in row["error"]
    assert len(scene.folder.tests.read()) == 0


def test_an_epoch_told_twice_or_late_counts_once(scene: Scene) -> None:
    scene.epochs(0.5, 0.6)
    for epoch in (2, 1):
        scene.recorder.epoch(*scene.key, epoch_result(epoch, 0.9))
    last = epoch_result(3, 0.7, done=True)
    leave_test(scene.request)
    scene.recorder.epoch(*scene.key, last)
    scene.recorder.finished(*scene.key, last)
    assert scene.folder.epochs.read()["epoch"].to_pylist() == [1, 2, 3]
    assert scene.row()["train_s"] == pytest.approx(1.5)
    assert scene.row()["val_score"] == 0.7


def test_what_an_epoch_took_is_recorded_be_it_told_or_found_in_a_checkpoint(scene: Scene) -> None:
    used = {
        "elapsed_s": 0.7,
        "cpu_cores": 0.9,
        "host_memory_mib": 400.0,
        "gpu_memory_mib": None,
        "gpu_utilization": None,
    }
    told, kept, bare = epoch_result(1, 0.5) | used, epoch_result(2, 0.6), epoch_result(3, 0.7)
    scene.recorder.epoch(*scene.key, told)
    later = used | {"elapsed_s": 1.4}
    keep_checkpoint(scene.request, [epoch_result(1, 0.5), kept | {USED: {"1": used, "2": later}}])
    assert scene.recorder.broke(*scene.key)[1:] == (2, [{**kept_row(kept), **later}])
    scene.recorder.epoch(*scene.key, bare)
    found = scene.folder.epochs.read().select(list(USAGE)).to_pylist()
    assert found == [used, later, dict.fromkeys(USAGE)]


def kept_row(result: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: result[field.name] for field in fields(EpochMetrics)}


def test_values_without_effect_are_null(tmp_path: Path) -> None:
    probe = Scene(tmp_path, freeze_depth=NUM_BLOCKS)
    probe.recorder.finished(*probe.key, epoch_result(1, 0.5))
    row = probe.row()
    assert (row["learning_rate"], row["layer_decay"], row["stay_near"]) == (None, None, None)
    assert (row["freeze_depth"], row["tune_stop"], row["freeze_frac"]) == (NUM_BLOCKS, NUM_BLOCKS, 1.0)
    assert row["head_learning_rate"] > 0


def test_a_window_starts_and_stops(tmp_path: Path) -> None:
    window = Scene(tmp_path, tune_window=(2, 5))
    window.recorder.finished(*window.key, epoch_result(1, 0.5))
    row = window.row()
    assert (row["freeze_depth"], row["tune_stop"], row["freeze_frac"]) == (2, 5, 2 / NUM_BLOCKS)
    assert (row["head_init"], row["stay_near"], row["learning_rate"] > 0) == ("random", 0.0, True)
    assert FinetuneConfig(**json.loads(row["config"])) == window.request.config
    [started] = window.heard.started
    assert (started["freeze_depth"], started["tune_stop"], started["freeze_frac"]) == (2, 5, 2 / NUM_BLOCKS)


def test_a_regression_leaves_a_score_per_example(scene: Scene) -> None:
    measured = {"val_accuracy": None, "val_f1_macro": None, "val_r2": 0.5, "val_mae": 3.0, "metric": "r2"}
    leave_test(scene.request, **REGRESSION_TEST)
    for epoch in (1, 2, 3):
        scene.recorder.epoch(*scene.key, epoch_result(epoch, 0.5, best=epoch == 1) | measured)
    scene.recorder.finished(*scene.key, epoch_result(3, 0.5, done=True) | measured)
    row = scene.row()
    assert (row["state"], row["metric"], row["val_accuracy"], row["val_r2"]) == ("completed", "r2", None, 0.5)
    assert scene.folder.epochs.read()["val_mae"].to_pylist() == [3.0] * 3
    [test] = scene.folder.tests.read().to_pylist()
    assert (test["correct"], test["example_scores"], test["test_accuracy"]) == (None, [1.0, -0.5], None)
    assert (test["test_r2"], test["test_mse"]) == (0.25, 4.0)


def test_a_request_travels_to_a_worker_and_back(scene: Scene) -> None:
    config = scene.request.to_tune()
    window = RunRequest.from_tune({**config, "config": {**config["config"], "freeze_depth": 0, "tune_window": [2, 5]}})
    assert window.config.tune_window == (2, 5)
    assert config["study"] == "digits:timm/x@random"
    assert RunRequest.from_tune({**config, "trial_id": "t"}) == scene.request
    assert [key for key in config if "test" in key] == ["test_file"]


# --- what was measured beyond the score

FOUND = Findings(
    measures=(
        Measure(name="ece", value=0.25),
        Measure(name="auroc", value=float("nan")),
        Measure(name="f1", value=0.5, condition="class:ant"),
        Measure(name="loss", value=1.5, split="train"),
    ),
    pictures=(Picture(name="saliency", caption="where it looked", png=b"\x89PNG\xff"),),
    confusion=np.array([[3, 1], [0, 4]]),
    notes=("no energy meter",),
)


def test_an_evaluated_run_leaves_its_measures_before_its_trial(scene: Scene) -> None:
    leave_test(scene.request, perturbed_score=0.5, perturbed_example_scores=[0.5, 1.0])
    leave_findings(scene.request.test_file, FOUND, class_names=("ant", "bee"), failures=("evaluation failed: x: why",))
    scene.folder.write_facts({"studies": [{"study": scene.key[0]}]})
    scene.epochs(0.5, 0.6)
    scene.recorder.finished(*scene.key, epoch_result(3, 0.7, done=True))
    rows = scene.folder.measures.read().to_pylist()
    assert [(row["name"], row["split"], row["condition"], row["value"]) for row in rows] == [
        ("ece", "test", "", 0.25),
        ("auroc", "test", "", None),
        ("f1", "test", "class:ant", 0.5),
        ("loss", "train", "", 1.5),
    ]
    assert {(row["study"], row["number"]) for row in rows} == {scene.key}
    [test] = scene.folder.tests.read().to_pylist()
    assert (test["perturbed_score"], test["perturbed_example_scores"]) == (0.5, [0.5, 1.0])
    [heard] = scene.heard.evaluated
    assert heard is not None
    assert (heard.class_names, heard.confusion) == (("ant", "bee"), ((3, 1), (0, 4)))
    assert (heard.notes, heard.failures) == (
        ("no energy meter", "evaluation failed: x: why"),
        ("evaluation failed: x: why",),
    )
    [(name, file)] = heard.picture_files.items()
    assert (name, file.read_bytes(), heard.captions) == (
        "saliency.png",
        b"\x89PNG\xff",
        {"saliency": "where it looked"},
    )
    assert file == scene.folder.path / "pictures" / "00-00000" / "saliency.png"
    assert (scene.folder.path / "evaluations" / "00-00000.json").exists()
    assert read_evaluations(scene.folder) == {scene.key: heard}, "the folder tells the same afterwards"
    assert json.dumps(heard.document())


def test_measures_of_a_run_that_does_not_count_are_no_measures(scene: Scene) -> None:
    """Be it that it was stopped, or that the driver was killed before it wrote the trial."""
    leave_findings(scene.request.test_file, FOUND, class_names=("ant", "bee"), failures=())
    leave_test(scene.request)
    scene.recorder.finished(*scene.key, epoch_result(1, 0.6))
    assert scene.row()["state"] == "stopped"
    assert len(scene.folder.measures.read()) == 0
    assert scene.heard.evaluated == [None]
    lost = {"study": "digits:killed", "number": 3, "name": "ece", "split": "test", "condition": "", "value": 0.5}
    scene.folder.measures.append(lost)
    assert len(scene.folder.measures_table()) == 0


def test_findings_without_classes_or_pictures_leave_neither(scene: Scene) -> None:
    leave_findings(scene.request.test_file, Findings(measures=FOUND.measures), class_names=("y",), failures=())
    files = EvaluationFiles.of(scene.request.test_file)
    assert not files.pictures.exists()
    found = Evaluated.read(scene.request.test_file, study="digits:x", number=0)
    assert found is not None
    assert (found.confusion, found.picture_files, len(found.measures)) == (None, {}, 4)
