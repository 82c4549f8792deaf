"""Names, colours, metrics, views and links: pure, so quick."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import unquote

import pytest
from made_sweep import BACKBONES, MadeSweep, as_started

from orchestrator.records import USAGE
from orchestrator.tracking import color, inputs, location, metric, naming, pictures
from orchestrator.tracking.link import CURVES_VIEW, TRIALS_VIEW, link_to, view_key
from orchestrator.tracking.note import note
from orchestrator.tracking.server import server_command
from orchestrator.tracking.view import View, common_metrics, decode, saved_views, view_tags
from trainables.config import FinetuneConfig


def rows(sweep: MadeSweep) -> list[dict[str, Any]]:
    """Trials of the first backbone."""
    return [row for row in sweep.trials() if row["backbone"] == BACKBONES[0]]


def test_the_package_does_not_import_mlflow() -> None:
    code = "import sys, orchestrator.tracking; assert not {'mlflow', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_short_name_is_the_architecture_unless_two_share_it() -> None:
    names = ("timm/resnet18@a1", "timm/resnet18@a2", "torchvision/vit", "timm/vit", "hf/org/bert", "x@random")
    assert list(naming.short_names(names).values()) == [
        "resnet18@a1", "resnet18@a2", "torchvision/vit", "timm/vit", "bert", "x",
    ]  # fmt: skip


def test_a_run_is_named_by_number_backbone_and_frozen_blocks() -> None:
    trials = rows(MadeSweep())
    assert naming.run_name(as_started(trials[1]), "mobilenet_v2") == "#01 mobilenet_v2 2/18"
    assert naming.run_name(as_started(trials[-1]), "mobilenet_v2") == "c04 mobilenet_v2 8/18"


def test_identities_differ_for_every_run_of_a_sweep() -> None:
    sweep = MadeSweep()
    ids = [naming.child_run_id("s", "digits", t["backbone"], t["number"]) for t in sweep.trials()]
    ids += [naming.model_run_id("s", "digits", b) for b in BACKBONES] + [naming.parent_run_id("s", "digits")]
    assert len(set(ids)) == len(ids) == 13


def test_parameters_are_short_rounded_and_have_logarithms() -> None:
    params = naming.run_params(as_started(rows(MadeSweep())[0]), "mobilenet_v2", MadeSweep().dataset)
    assert params["lr"] == "0.000123457"
    assert params["lr_log10"] == "-3.90849"
    assert params["head_lr_log10"] == "-2"
    assert (params["freeze_depth"], params["freeze_frac"], params["image_size"]) == ("0", "0", "64")
    assert (params["kind"], params["modality"], params["head_init"]) == ("classification", "image", "random")
    assert "tune_window" not in params
    assert (params["epochs"], params["optimizer"], params["model"]) == ("3", "adamw", "mobilenet_v2")
    assert "backbone" not in params


def test_what_a_frozen_backbone_does_not_use_is_no_parameter() -> None:
    params = naming.run_params(as_started(rows(MadeSweep())[3]), "mobilenet_v2", None)
    assert params["freeze_frac"] == "1"
    assert not {"lr", "lr_log10", "layer_decay", "stay_near", "image_size"} & set(params)


def test_a_window_is_shown_where_it_is_tuned() -> None:
    config = asdict(FinetuneConfig(backbone="x", tune_window=(2, 5)))
    window = {**as_started(rows(MadeSweep())[0]), "freeze_depth": 2, "tune_stop": 5, "freeze_frac": 2 / 18}
    window["config"] = json.loads(json.dumps(config))
    assert naming.run_name(window, "mobilenet_v2") == "#00 mobilenet_v2 2-5/18"
    params = naming.run_params(window, "m", None)
    assert (params["tune_window"], params["freeze_depth"], params["freeze_frac"]) == ("2-5", "2", "0.111111")
    row = {**MadeSweep().ranking().to_pylist()[0], "best_tune_stop": 9}
    assert {p.key: p.value for p in metric.model_points(row)}["adapt/tune_stop"] == 9


def test_a_regression_has_its_own_metrics() -> None:
    sweep = MadeSweep()
    none = {"val_accuracy": None, "val_f1_macro": None}
    epoch = {**sweep.epochs()[0], **none, **dict.fromkeys(USAGE), "val_r2": -0.25, "val_mae": 3.5}
    keys = {p.key for p in metric.epoch_points(epoch)}
    assert keys == {"train/loss", "val/loss", "val/r2", "val/mae", "time/epoch_s"}
    test = {**dict.fromkeys(sweep.tests()[0]), "test_score": 0.5, "test_r2": 0.5, "test_mae": 2.0, "test_mse": 9.0}
    points = metric.final_points({**rows(sweep)[-1], **none, "val_r2": 0.4}, test)
    assert {"final/val_r2", "final/test_r2", "final/test_mae", "final/test_mse"} <= {p.key for p in points}
    assert not any("accuracy" in p.key or "f1" in p.key for p in points)
    charts = [card for view in saved_views("s", metric="r2") for card in view.state["compareRunCharts"]]
    lines = {card["metricKey"] for card in charts if card["type"] == "LINE"}
    assert lines == {"val/r2", "val/loss", "train/loss"}


def test_what_a_worker_took_is_drawn_by_epoch_and_what_it_did_not_measure_is_not() -> None:
    on_gpu, on_cpu = MadeSweep().epochs()[1], MadeSweep().epochs()[-1]
    points = {p.key: (p.step, p.value) for p in metric.epoch_points(on_gpu)}
    assert {key: value for key, (_, value) in points.items() if key.startswith("system/")} == {
        "system/cpu_cores": 0.75,
        "system/memory_mib": 512.0,
        "system/gpu_mem_mib": 300.0,
        "system/gpu_util": 0.5,
    }
    assert points["time/elapsed_s"] == (2, 6.0)
    assert all(key.startswith(metric.EPOCH_GROUPS) for key in points)
    keys = {p.key for p in metric.epoch_points(on_cpu)}
    assert "system/memory_mib" in keys
    assert not {"system/gpu_mem_mib", "system/gpu_util"} & keys


def test_the_best_is_of_searched_trials_that_did_not_fail() -> None:
    base = {"state": "completed", "phase": "tpe", "task": "a", "val_loss": 0.5, "val_accuracy": 0.6}
    rows = [
        base,
        {**base, "state": "stopped", "val_loss": 0.4, "val_accuracy": 0.7},
        {**base, "state": "failed", "val_loss": 0.1, "val_accuracy": 0.9},
        {**base, "phase": "confirmation", "val_loss": 0.2, "val_accuracy": 0.8},
        {**base, "val_loss": math.nan, "val_accuracy": None},
        {**base, "task": "b", "val_loss": 3.0},
    ]
    assert metric.best_metrics(rows) == {
        "a": {"best/val_loss": 0.4, "best/val_accuracy": 0.7},
        "b": {"best/val_loss": 3.0, "best/val_accuracy": 0.6},
    }


def test_a_run_names_the_data_it_read_and_how_much_of_it() -> None:
    dataset = MadeSweep().dataset
    assert inputs.contexts_of("tpe") == ("train", "val")
    assert inputs.contexts_of("confirmation") == inputs.contexts_of("reduced") == ("train", "val", "test")
    train, val = inputs.data_inputs(dataset, ("train", "val"), train_frac=0.25)
    assert (train.name, train.digest, val.name) == ("digits-train", "d" * 36, "digits-val")
    assert train.tags == {"mlflow.data.context": "train", "orchestrator.train_frac": "0.25"}
    assert val.tags == {"mlflow.data.context": "val"}
    profile = json.loads(train.profile)
    assert (profile["num_rows"], profile["image_size"], profile["metric"]) == (1000, 64, "accuracy")
    secret = replace(dataset, source="s3://me:hunter2@bucket/images")
    assert not any("hunter2" in data.source for data in inputs.data_inputs(secret))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("explanation_0", ("explanation/samples", 0)),
        ("by_class_12", ("by_class/samples", 12)),
        ("saliency", ("pictures/saliency", 0)),
    ],
)
def test_a_numbered_picture_is_a_step_of_its_kind(name: str, place: tuple[str, int]) -> None:
    assert pictures.slider_place(name) == place


def test_a_learning_rate_of_zero_has_no_logarithm() -> None:
    run = as_started(rows(MadeSweep())[0])
    run["config"]["learning_rate"] = 0.0
    assert "lr_log10" not in naming.run_params(run, "m", None)


def test_a_confirmation_has_the_configuration_hash_of_its_trial() -> None:
    run = as_started(rows(MadeSweep())[0])
    again = {**run, "phase": "confirmation", "config": {**run["config"], "seed": 99}}
    assert naming.child_tags(run, "m")["orchestrator.role"] == "trial"
    assert naming.child_tags(again, "m")["orchestrator.role"] == "confirm"
    key = "orchestrator.config_hash"
    assert naming.child_tags(run, "m")[key] == naming.child_tags(again, "m")[key]


def test_the_end_of_a_trial_tells_how_it_ended_without_secrets() -> None:
    completed, stopped, failed = rows(MadeSweep())[:3]
    assert naming.end_tags(completed) == {"orchestrator.state": "completed"}
    assert naming.end_tags(stopped)["orchestrator.stopped_early"] == "true"
    tags = naming.end_tags(failed)
    assert tags["orchestrator.error"] == "RuntimeError: lost s3://***@bucket"
    assert "Traceback" in tags["mlflow.note.content"]
    assert "k:v" not in str(tags)


@pytest.mark.parametrize("error", [None, "", "\n \n"])
def test_a_failure_without_a_reason_says_so(error: str | None) -> None:
    tags = naming.end_tags({"state": "failed", "error": error})
    assert tags["orchestrator.error"] == "no reason was recorded"


def test_a_long_error_stays_within_what_mlflow_takes() -> None:
    tags = naming.end_tags({"state": "failed", "error": "x" * 100_000})
    assert max(map(len, tags.values())) <= 8000


def test_colours_are_stable_and_distinct_for_many_backbones() -> None:
    names = [f"b{i}" for i in range(21)]
    made = color.colors(names)
    assert len(set(made.values())) == len(names)
    assert list(made.values())[:8] == list(color.PALETTE)
    assert color.colors(names[:3]) == {name: made[name] for name in names[:3]}


def test_epochs_are_steps_and_one_time_values_are_at_step_0() -> None:
    sweep = MadeSweep()
    assert {p.step for row in sweep.epochs() for p in metric.epoch_points(row)} == {1, 2, 3}
    points = metric.final_points(rows(sweep)[0], None) + metric.model_points(sweep.ranking().to_pylist()[0])
    assert {p.step for p in points} == {0}
    assert all(p.key.startswith(metric.EPOCH_GROUPS) for p in metric.epoch_points(sweep.epochs()[0]))
    assert not any(p.key.startswith(metric.EPOCH_GROUPS) for p in points)


def test_values_have_6_significant_digits_and_counts_stay_whole() -> None:
    values = {p.key: p.value for p in metric.final_points(rows(MadeSweep())[0], None)}
    assert values["final/val_loss"] == 0.333333
    assert values["final/train_s"] == 12.3457
    assert values["final/trainable_params"] == 2223873


def test_test_scores_are_on_confirmations_alone() -> None:
    sweep = MadeSweep()
    test = sweep.tests()[0]
    keys = {p.key for p in metric.final_points(rows(sweep)[0], test)}
    assert not any("test" in key for key in keys)
    assert {"final/test_score", "final/test_accuracy"} <= {p.key for p in metric.final_points(rows(sweep)[-1], test)}


def test_a_failed_trial_has_costs_and_no_score() -> None:
    keys = {p.key for p in metric.final_points(rows(MadeSweep())[2], None)}
    assert "final/duration_s" in keys
    assert not any("val" in key for key in keys)


def test_nan_and_infinity_are_taken_out_and_named() -> None:
    none = {**dict.fromkeys(USAGE), "val_f1_macro": None}
    row = {**MadeSweep().epochs()[0], "train_loss": math.inf, "val_loss": math.nan, **none}
    kept, dropped = metric.finite(metric.epoch_points(row))
    assert {p.key for p in kept} == {"val/accuracy", "time/epoch_s"}
    assert dropped == ["train/loss@1=inf", "val/loss@1=nan"]


def test_an_insufficient_backbone_has_counts_and_no_score() -> None:
    keys = {p.key for p in metric.model_points(MadeSweep().ranking().to_pylist()[1])}
    assert "adapt/num_failed" in keys
    assert "adapt/score" not in keys


def test_saved_views_are_small_stable_and_decode() -> None:
    sweep = MadeSweep()
    tags = view_tags(sweep.info, sweep.dataset)
    assert tags == view_tags(sweep.info, None)
    views = [decode(value) for value in tags.values()]
    assert views == list(saved_views(sweep.sweep_id))
    assert [v.name for v in views] == [
        "0 Ranking", "1 All trials", "2 Mean curves by backbone", "3 Trials table",
    ]  # fmt: skip
    assert all(len(value) < 20_000 for value in tags.values())
    for view in views:
        assert view.state["runsHiddenMode"] == "SHOW_ALL"
        sections = {section["uuid"] for section in view.state["compareRunSections"]}
        uuids = [card["uuid"] for card in view.state["compareRunCharts"]]
        assert len(set(uuids)) == len(uuids)
        assert {card["metricSectionId"] for card in view.state["compareRunCharts"]} <= sections


def test_charts_are_of_what_every_ranked_backbone_has() -> None:
    sweep = MadeSweep()
    rows = sweep.ranking().to_pylist()
    assert common_metrics([{**row, "score": None} for row in rows], {}) is None
    both = [{**rows[0], "backbone": name} for name in BACKBONES]
    more = {("digits", BACKBONES[0]): {"final/ece": 0.1, "final/latency_s": 0.1}, ("digits", BACKBONES[1]): {}}
    without = common_metrics(both, more)
    more["digits", BACKBONES[1]] = {"final/ece": 0.2, "final/latency_s": math.nan}
    measured = common_metrics(both, more)
    assert without is not None
    assert measured is not None
    assert measured - without == {"final/ece"}

    def metrics(view: View) -> set[str]:
        return {card["metricKey"] for card in view.state["compareRunCharts"] if card["type"] == "BAR"}

    [before, *_], [after, *_] = (saved_views("s", measured=found) for found in (None, measured))
    assert metrics(after) - metrics(before) == {"final/ece"} | ({"adapt/perturbed"} & measured)
    assert "metrics.`final/ece`" in after.state["selectedColumns"]
    assert "metrics.`final/latency_s`" not in after.state["selectedColumns"]


@pytest.mark.parametrize(("num_trials", "order"), [(50, "metrics.`final/val_score`"), (51, "attributes.`run_name`")])
def test_more_trials_than_a_page_holds_are_ordered_by_number(num_trials: int, order: str) -> None:
    """MLflow's page loads 100 runs: by score those could be of one backbone, by number they are of all."""
    views = [decode(value) for value in view_tags(MadeSweep(num_trials=num_trials).info, None).values()]
    assert [view.state["orderByKey"] for view in views if view.name in (TRIALS_VIEW, CURVES_VIEW)] == [order, order]


@pytest.mark.parametrize("ranked", [False, True])
def test_a_link_names_the_comparison_and_a_view_or_a_filter(ranked: bool) -> None:
    uri = "https://me:hunter2@mlflow.example/tracking/"
    plain = link_to(uri, "7", sweep_id="s1", ranked=ranked)
    viewed = link_to(uri, "7", sweep_id="s1", ranked=ranked, view_key=view_key("0 Ranking"))
    start = "https://mlflow.example/tracking/#/experiments/7/runs?workflowType=machine_learning"
    for link in (plain, viewed):
        assert link.url.startswith(start + "&compareRunsMode=CHART")
        assert link.command is None
        assert "hunter2" not in str(link)
    assert f"`orchestrator.role` = '{'model' if ranked else 'trial'}'" in unquote(plain.url)
    assert "searchFilter" not in viewed.url  # it would keep the view from loading


def test_without_a_server_a_link_comes_with_the_command_that_starts_one() -> None:
    link = link_to("sqlite:////data/my sweeps/mlflow.db", None, sweep_id="s1", ranked=False)
    assert link.command == str(link) == "python -m orchestrator ui s1"
    assert link.url.startswith("http://127.0.0.1:5000/")


def test_a_server_is_closed_to_other_machines_and_pages_and_its_password_to_other_users() -> None:
    command = server_command("postgresql://me:hunter2@h/db", 5007)
    assert not any("hunter2" in argument for argument in command.arguments)
    assert command.settings["MLFLOW_BACKEND_STORE_URI"] == "postgresql://me:hunter2@h/db"
    assert command.settings["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    given = dict(zip(command.arguments, command.arguments[1:], strict=False))
    assert (given["--host"], given["--port"], given["--workers"]) == ("127.0.0.1", "5007", "1")
    assert given["--allowed-hosts"] == "127.0.0.1:5007,localhost:5007"
    assert given["--cors-allowed-origins"] == "http://127.0.0.1:5007,http://localhost:5007"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("http://h:5000", "server"),
        ("https://h", "server"),
        ("sqlite:///mlflow.db", "sqlite"),
        ("postgresql+psycopg2://u:p@h/db", "database"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks"),
        ("file:./mlruns", "unknown"),
        ("./mlruns", "unknown"),
        ("", "unknown"),
        ("gopher://h", "unknown"),
    ],
)
def test_the_kind_of_a_tracking_uri(uri: str, kind: str) -> None:
    assert location.kind(uri) == kind


def test_files_of_a_local_store_go_beside_its_database() -> None:
    assert location.artifact_root("sqlite:////data/s/mlflow.db") == "file:///data/s/mlartifacts"
    assert str(location.artifact_root("sqlite:///mlflow.db")).startswith("file:///")
    assert location.artifact_root("http://h") is None


def test_the_note_has_the_question_the_verdict_and_no_secret() -> None:
    sweep = MadeSweep()
    assert "not been ranked" in note(sweep.info, "digits", sweep.dataset, None)
    page = note(sweep.info, "digits", sweep.dataset, "**lite0 leads**, see http://me:hunter2@h/")
    assert "not been ranked" not in page
    assert page.index("adapts best to digits") < page.index("**lite0 leads**") < page.index("10 classes")
    assert "hunter2" not in page


@pytest.mark.parametrize(
    ("kind", "modality", "num_classes", "words"),
    [
        ("classification", "image", 10, "10 classes of images"),
        ("multilabel", "text", 7, "7 labels, any number of them for each text"),
        ("regression", "audio", 1, "a number for each sound"),
        ("regression", "image", 3, "3 numbers for each image"),
    ],
)
def test_the_note_says_what_is_asked(kind: str, modality: str, num_classes: int, words: str) -> None:
    sweep = MadeSweep()
    data = replace(sweep.dataset, kind=kind, modality=modality, num_classes=num_classes)
    assert words in note(sweep.info, "digits", data, None)
