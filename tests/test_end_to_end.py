"""Whole sweeps through the command line: real weights, a real Ray, a real MLflow server, real kills.

Few sweeps serve many assertions, as starting one takes most of its time.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow_server import Server, free_port
from PIL import Image
from read_back import content, models
from shell import TORCH_HOME, Done, Shell

from orchestrator.config import load_sweep
from orchestrator.evaluated import read_evaluations
from orchestrator.folder import SweepFolder, list_sweeps
from orchestrator.ranking import RankingOptions, rank
from orchestrator.ranking.options import PRESETS
from orchestrator.results import one_thread
from orchestrator.tracking.naming import short_names
from trainables.backbones import build
from trainables.catalog import lookup
from trainables.config import TaskSpec
from trainables.data import load_task
from trainables.data.source import open_source
from trainables.exported.facts import read_example_output

pytestmark = [
    pytest.mark.slow,
    # mlflow and sqlalchemy leave sqlite connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

LITE0, TINY = "timm/tf_efficientnet_lite0", "timm/test_resnet@random"
BUDGET = {"trials": 4, "random_trials": 3, "max_epochs": 2}
DIGITS = {"name": "digits", "num_train": 120, "num_val": 60, "num_test": 120, "image_size": 32}
SMALL: dict[str, Any] = {
    "name": "small",
    "tasks": [DIGITS],
    "backbones": [LITE0],
    "budget": BUDGET,
    "confirmation": {"seeds": 2},
    "finetune": {"batch_size": 20},
    "resources": {"gpus_per_trial": 0},
    "evaluation": None,
}
PERTURBED = 10
"""Test samples: fewer than either task has."""

ONE_AT_A_TIME = {"gpus_per_trial": 0, "max_concurrent": 1}
"""Where two at a time are not what a test is about: a worker takes ten seconds of a CPU to load."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


def processes_below(pid: int) -> dict[int, str]:
    """Every process that `pid` started, directly or not, with its start time: a pid alone may be reused."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1]), fields[19]
    found: dict[int, str] = {}
    layer = {pid}
    while layer:
        layer = {child for child, (parent, _) in parents.items() if parent in layer}
        found |= {child: parents[child][1] for child in layer}
    return found


def alive(processes: dict[int, str]) -> list[int]:
    left = []
    for pid, start in processes.items():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and fields[19] == start:
                left.append(pid)
    return left


def gone_within(processes: dict[int, str], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while alive(processes) and time.monotonic() < until:
        time.sleep(0.2)
    return not alive(processes)


def wait_for_trials(shell: Shell, process: subprocess.Popen[str], num: int) -> SweepFolder:
    """Wait until so many trials are recorded."""
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        for folder in list_sweeps(shell.storage):
            if len(folder.trials.read()) >= num:
                return folder
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"no {num} trials in time: {process.communicate()}")


# --- a sweep of two tasks and two pretrained backbones


@dataclass(frozen=True)
class Whole:
    """What one complete sweep left."""

    shell: Shell
    done: Done
    folder: SweepFolder
    uri: str
    backbones: tuple[str, str]

    @property
    def trials(self) -> list[dict[str, Any]]:
        return list(self.folder.trials.read().to_pylist())

    @property
    def epochs(self) -> list[dict[str, Any]]:
        return list(self.folder.epochs.read().to_pylist())

    @property
    def tests(self) -> list[dict[str, Any]]:
        return list(self.folder.tests.read().to_pylist())


def write_images(folder: Path) -> Path:
    """48 PNG files, one folder per class; classes differ in colour and are easy to tell apart."""
    generator = np.random.default_rng(0)
    for name, colour in {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}.items():
        (folder / name).mkdir(parents=True)
        for index in range(16):
            pixels = generator.integers(-50, 50, (24, 40, 3)) + colour
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def whole(new_shell: Callable[[str], Shell], server: Server) -> Whole:
    shell = new_shell("whole")
    other = "torchvision/mobilenet_v2@IMAGENET1K_V1" if TORCH_HOME.is_dir() else "timm/tf_efficientnet_lite1"
    images = {
        "name": "colours",
        "data": str(write_images(shell.folder / "images")),
        "image_size": 32,
        "num_train": 24,
        "num_val": 12,
        "num_test": 12,
    }
    config = {
        **SMALL,
        "name": "whole",
        "tasks": [DIGITS, images],
        "backbones": [LITE0, other],
        "confirmation": {"seeds": 2, "train_fracs": [0.5]},
        "evaluation": {"num_perturbed": PERTURBED, "num_attacked": 4, "num_drifted": 8},
        "screen": True,
        "ranking": {"preset": "few_labels"},
    }
    done = shell.run("sweep", shell.write(config), "--tracking-uri", server.uri, "--json")
    assert done.code == 0, done.err
    return Whole(shell, done, shell.sweep(), server.uri, (f"{LITE0}@pypi", other if "@" in other else f"{other}@pypi"))


def test_stdout_is_one_document_and_stderr_is_for_people(whole: Whole) -> None:
    document = whole.done.document
    assert document["sweep"] == whole.folder.sweep_id
    assert document["interrupted"] is False
    assert document["tracking"]["complete"] is True
    lines = whole.done.err.splitlines()
    assert lines[0].startswith("whole: 2 backbones on digits, colours; each gets 4 trials")
    assert [line.split()[0] for line in lines[1:6]] == ["data", "data", "results", "MLflow", "time"]
    assert lines[6] == f"results in {whole.folder.path}"
    assert [line.partition(" samples")[0] for line in lines[7:9]] == ["digits: 120", "colours: 24"]
    runs = [line for line in lines[9:] if not line.startswith("not screened: ")]
    assert len(runs) == 4 * 8, "one line per run, and nothing of Ray, Tune, Optuna or MLflow"
    assert [line[:7] for line in runs] == [f"[{number:>2}/32]" for number in range(1, 33)]


def test_the_tables_agree_with_each_other(whole: Whole) -> None:
    trials, epochs, tests = whole.trials, whole.epochs, whole.tests
    keys = [(row["study"], row["number"]) for row in trials]
    assert len(keys) == len(set(keys)) == 32
    studies = {f"{task}:{backbone}" for task in ("digits", "colours") for backbone in whole.backbones}
    assert {study for study, _ in keys} == studies
    for study in studies:
        phases = Counter(row["phase"] for row in trials if row["study"] == study)
        assert phases == {"random": 3, "tpe": 1, "confirmation": 2, "reduced": 2}
    for row in trials:
        curve = [e for e in epochs if (e["study"], e["number"]) == (row["study"], row["number"])]
        assert [e["epoch"] for e in curve] == list(range(1, row["epochs"] + 1))
        assert row["state"] == ("completed" if row["epochs"] == 2 else "stopped")
        assert row["phase"] == "tpe" or row["state"] == "completed", "only searched trials are stopped"
        best = max(curve, key=lambda e: e["val_score"])
        assert (row["best_epoch"], row["val_score"]) == (best["epoch"], best["val_score"])
        assert row["train_s"] == pytest.approx(sum(e["train_s"] for e in curve))
        assert row["freeze_frac"] == row["freeze_depth"] / row["num_blocks"]
        assert row["started_at"] < row["finished_at"]
        config = json.loads(row["config"])
        assert (config["seed"], config["batch_size"], config["max_epochs"]) == (row["seed"], 20, 2)
    assert {(t["study"], t["number"]) for t in tests} == {
        (row["study"], row["number"]) for row in trials if row["state"] == "completed"
    }
    phase = {(row["study"], row["number"]): row["phase"] for row in trials}
    for test in tests:
        confirms = phase[test["study"], test["number"]] == "confirmation"
        assert (test["perturbed_score"] is not None) == confirms, test
        assert len(test["perturbed_example_scores"] or ()) == PERTURBED * confirms
        correct = np.unpackbits(np.frombuffer(test["correct"], np.uint8), count=test["num_test"])
        assert correct.mean() == pytest.approx(test["test_accuracy"])
        assert test["num_test"] == (120 if test["study"].startswith("digits") else 12)


def test_studies_of_a_task_drew_the_same_random_slice(whole: Whole) -> None:
    slices = {}
    for row in whole.trials:
        if row["phase"] == "random":
            drawn = row["head_learning_rate"], row["weight_decay"], row["seed"]
            slices.setdefault(row["study"], {})[row["number"]] = drawn
    first, *others = slices.values()
    assert all(one == first for one in others)


def test_pretrained_backbones_beat_chance(whole: Whole) -> None:
    rows = whole.done.document["ranking"]
    assert {(row["task"], row["backbone"]) for row in rows} == {
        (task, backbone) for task in ("digits", "colours") for backbone in whole.backbones
    }
    for row in rows:
        assert row["status"] == "ranked", row["reason"]
        assert row["confirmation_mean"] > row["chance"] + 0.15, row
        assert (row["num_trials"], row["num_confirmations"], row["num_failed"]) == (4, 2, 0)


def test_ranking_files_commands_and_document_are_one(whole: Whole) -> None:
    document = whole.done.document
    folder = whole.folder.path
    on_disk = json.loads((folder / "ranking.json").read_text())
    assert (folder / "report.html").exists()
    assert on_disk["ranking"] == document["ranking"]
    assert on_disk["verdicts"] == document["verdicts"]
    assert pq.read_table(folder / "ranking.parquet").to_pylist() == document["ranking"]
    assert pq.read_table(folder / "trials.parquet").to_pylist() == whole.trials
    with (folder / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["backbone"], float(row["score"])) for row in rows] == [
        (row["task"], row["backbone"], row["score"]) for row in document["ranking"]
    ]
    trials, _, tests = whole.folder.tables()
    few_labels = RankingOptions(weights=PRESETS["few_labels"])
    with one_thread():  # another number of threads sums in another order
        assert rank(trials, tests, options=few_labels).table.to_pylist() == document["ranking"]
    again = whole.shell.here("rank", "--json")
    assert again.document[0]["ranking"] == document["ranking"]
    [listed] = whole.shell.here("ls", "--json").document
    assert (listed["runs"], listed["failed"]) == (32, 0)
    assert len(whole.shell.here("show", "--json").document["runs"]) == 32


def test_confirmations_were_evaluated_and_nothing_failed(whole: Whole) -> None:
    evaluations = read_evaluations(whole.folder)
    confirmed = {(r["study"], r["number"]): r for r in whole.trials if r["phase"] == "confirmation"}
    assert evaluations.keys() == confirmed.keys()
    for key, evaluated in evaluations.items():
        assert evaluated.failures == ()
        values = {(row["name"], row["split"], row["condition"]): row["value"] for row in evaluated.measures}
        [test] = [row for row in whole.tests if (row["study"], row["number"]) == key]
        assert values["accuracy", "test", ""] == pytest.approx(test["test_accuracy"])
        assert values["num_params", "test", ""] == confirmed[key]["num_params"]
        assert 0 <= values["ece", "test", ""] <= 1
        assert values["evaluation_s", "test", ""] > 0
        assert evaluated.confusion is not None
        assert sum(map(sum, evaluated.confusion)) == test["num_test"]
        for file in evaluated.picture_files.values():
            assert file.read_bytes().startswith(b"\x89PNG")
    shown = whole.shell.here("show", "--trial", str(next(iter(confirmed))[1]), "--json").document["runs"]
    assert {len(row["measures"]) > 20 for row in shown} == {True}


def test_backbones_were_screened_and_runs_on_fewer_samples_are_cheaper(whole: Whole) -> None:
    rows = whole.folder.screen.read().to_pylist()
    assert {(row["task"], row["backbone"]) for row in rows} == {
        (t, b) for t in ("digits", "colours") for b in whole.backbones
    }
    assert {"log_me", "num_params"} <= {row["name"] for row in rows if row["value"] is not None}
    assert [screen["task"] for screen in whole.done.document["screen"]] == ["digits", "colours"]
    by_key = {(row["study"], row["number"]): row for row in whole.trials}
    for (study, number), row in by_key.items():
        if row["phase"] == "reduced":
            twin = by_key[study, number - 2]
            assert (row["train_frac"], row["config"]) == (0.5, twin["config"])
            assert twin["phase"] == "confirmation"
            steps = {
                n: max(e["step"] for e in whole.epochs if (e["study"], e["number"]) == (study, n))
                for n in (number, number - 2)
            }
            assert steps[number] < steps[number - 2]


def test_mlflow_holds_what_the_tables_hold(whole: Whole) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=whole.uri)
    sweep_id = whole.folder.sweep_id
    short = short_names(whole.backbones)
    for task in ("digits", "colours"):
        experiment = client.get_experiment_by_name(f"adapt/{task}")
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        assert {run.info.status for run in runs} == {"FINISHED"}
        roles = Counter(run.data.tags["orchestrator.role"] for run in runs)
        of_task = [row for row in whole.trials if row["task"] == task]
        by_id = {run.data.tags["orchestrator.run_id"]: run for run in runs}
        assert len(by_id) == len(runs) == sum(roles.values())
        assert sum("mlflow.parentRunId" not in run.data.tags for run in runs) == 1
        assert roles["model"] == 2
        assert len(runs) == 1 + 2 + len(of_task)
        for row in of_task:
            run = by_id[f"{sweep_id}/{task}/{row['backbone']}/{row['number']}"]
            assert run.data.params["model"] == short[row["backbone"]]
            assert int(run.data.params["seed"]) == row["seed"]
            confirms = row["phase"] == "confirmation"
            assert ("final/ece" in run.data.metrics) == confirms
            assert ("final/test_score" in run.data.metrics) == (row["phase"] in ("confirmation", "reduced"))
            files = {file.path for file in client.list_artifacts(run.info.run_id)}
            assert ({"measures.json", "confusion.json"} <= files) == confirms
            assert run.data.tags["orchestrator.sweep_id"] == sweep_id
            assert run.data.tags["mlflow.parentRunId"]
            curve = [e for e in whole.epochs if (e["study"], e["number"]) == (row["study"], row["number"])]
            for metric, column in (("val/accuracy", "val_accuracy"), ("train/loss", "train_loss")):
                points = client.get_metric_history(run.info.run_id, metric)
                assert len(points) == len(curve), "each epoch once"
                # MLflow is given six digits.
                found = {point.step: point.value for point in points}
                assert found == pytest.approx({e["epoch"]: e[column] for e in curve}, rel=1e-5)
            assert run.data.metrics["final/val_score"] == pytest.approx(row["val_score"], rel=1e-5)
        for row in whole.done.document["ranking"]:
            if row["task"] == task:
                [model] = [
                    run
                    for run in runs
                    if run.data.tags["orchestrator.role"] == "model"
                    and run.data.params["model"] == short[row["backbone"]]
                ]
                assert model.data.metrics["adapt/score"] == pytest.approx(row["score"], rel=1e-5)
                assert model.data.metrics["adapt/rank"] == row["rank"]
                assert {"final/ece", "final/flops", "screen/log_me"} <= model.data.metrics.keys()


def test_both_slots_are_busy_while_there_are_trials(whole: Whole) -> None:
    """Between the first two ends and the last of the searched trials: two at a time, but for hand-overs."""
    if (os.cpu_count() or 1) != 2:
        pytest.skip("counts the slots of a machine with two cores")
    spans = sorted(
        (row["finished_at"].timestamp() - row["duration_s"], row["finished_at"].timestamp())
        for row in whole.trials
        if row["phase"] in ("random", "tpe")
    )
    begin = max(start for start, _ in spans[:2])
    end = sorted(end for _, end in spans)[-2]
    busy = sum(max(0.0, min(stop, end) - max(start, begin)) for start, stop in spans)
    assert busy / (end - begin) >= 1.6


def test_workers_take_one_trial_after_another(whole: Whole) -> None:
    slots = min(24, os.cpu_count() or 1)
    assert 1 <= whole.shell.num_workers() <= slots


@dataclass(frozen=True)
class OfTask:
    """A sweep on one of its tasks."""

    sweep_id: str
    task: str


def test_a_finished_sweep_is_rebuilt_on_another_machine(whole: Whole, tmp_path: Path) -> None:
    """Of a copy of its folder, where nothing is that it names: neither its data nor the server it was tracked on."""
    copy = tmp_path / "elsewhere" / whole.folder.sweep_id
    shutil.copytree(whole.folder.path, copy)
    for file in (copy / "sweep.yaml", copy / "sweep.json"):
        text = file.read_text().replace(str(whole.shell.folder), "/nowhere")
        file.write_text(text.replace(whole.uri, "http://tracking.invalid:5000"))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = whole.shell.here("report", str(copy), "--tracking-uri", uri, "--json")
    assert done.code == 0, done.err
    assert done.document["ranking"] == whole.done.document["ranking"]
    assert done.err == ""
    for task in ("digits", "colours"):
        one = OfTask(whole.folder.sweep_id, task)
        written, rebuilt = content(whole.uri, one), content(uri, one)
        assert models(uri, one) == models(whole.uri, one)
        assert len(models(uri, one)) == len(whole.backbones)
        parent = f"{one.sweep_id}/{task}"
        for found in (written, rebuilt):
            del found["runs"][parent].tags["orchestrator.config"]  # of the file that was changed
        assert rebuilt["runs"] == written["runs"]
        assert rebuilt["experiment"] == written["experiment"]
        assert {run: set(files) for run, files in rebuilt["files"].items()} == {
            run: set(files) for run, files in written["files"].items()
        }
        assert {"report.html", "ranking.md", "ranking.csv", "config/env.json"} <= set(rebuilt["files"][parent])
        for name in ("ranking.md", "ranking.csv"):
            assert rebuilt["files"][parent][name] == written["files"][parent][name]
        epochs = next(run for run in rebuilt["runs"].values() if run.tags["orchestrator.role"] == "trial").points
        assert [step for step, _ in epochs["system/cpu_cores"]] == [step for step, _ in epochs["val/loss"]]
        assert {"system/memory_mib", "time/elapsed_s"} <= epochs.keys()


def files_and_labels(spec: TaskSpec, backbone: str) -> tuple[list[bytes], list[str]]:
    """The test split of a task, as a user would hand it over."""
    task, source = load_task(spec, build(lookup(backbone)).preprocessing), open_source(spec)
    files = []
    for row in task.test.rows.tolist():
        file = io.BytesIO()
        source.load(row).save(file, "PNG")
        files.append(file.getvalue())
    return files, [task.class_names[place] for place in task.test.targets.tolist()]


def test_a_winner_that_is_loaded_back_scores_what_was_confirmed(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of the registry of the server, by `mlflow.pyfunc`: the test split as files, and the input example."""
    import mlflow
    from pandas import DataFrame

    monkeypatch.setenv("ORCHESTRATOR_CACHE", whole.shell.env["ORCHESTRATOR_CACHE"])
    backbone = whole.backbones[0]
    for spec in load_sweep(whole.folder.config_file).tasks:
        place = ("--task", spec.name, "--backbone", backbone, "--tracking-uri", whole.uri)
        done = whole.shell.here("export", *place, "--register", f"winner-{spec.name}", "--json")
        assert (done.code, done.err) == (0, "")
        number = done.document["confirmation"]
        [test] = [t for t in whole.tests if (t["study"], t["number"]) == (f"{spec.name}:{backbone}", number)]
        mlflow.set_tracking_uri(whole.uri)
        model = mlflow.pyfunc.load_model(done.document["registered"]["uri"])
        files, labels = files_and_labels(spec, backbone)
        right = (model.predict(DataFrame({"image": files}))["label"] == labels).to_numpy()
        assert right.mean() == test["test_accuracy"]
        assert (right == np.unpackbits(np.frombuffer(test["correct"], np.uint8), count=test["num_test"])).all()
        kept = whole.folder.model_folder(whole.folder.study_indices()[f"{spec.name}:{backbone}"], number)
        recorded = read_example_output(kept)
        answered = model.predict(model.input_example).to_dict("list")
        assert answered.pop("label") == recorded.pop("label")
        assert {name: [pytest.approx(value, rel=1e-4)] for name, (value,) in recorded.items()} == answered


def test_a_winner_answers_where_nothing_of_this_project_is(whole: Whole, tmp_path: Path) -> None:
    """In a process that finds no package of ours but the one beside the weights, and no network."""
    place = ("--task", "digits", "--backbone", whole.backbones[0], "--output", str(tmp_path / "winner"))
    done = whole.shell.here("export", *place, "--json")
    assert (done.code, done.err) == (0, "")
    script = Path(__file__).with_name("load_alone.py")
    ran = subprocess.run([sys.executable, "-I", script, tmp_path / "winner"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    answered = json.loads(ran.stdout.splitlines()[-1])
    assert answered["code"].startswith(str(tmp_path / "winner" / "code"))
    recorded = json.loads((tmp_path / "winner" / "data" / "model" / "example" / "output.json").read_text())
    assert answered["label"] == recorded["label"]
    assert set(answered["unpinned"]) <= {"huggingface_hub"}, "which timm brings; all else is in requirements.txt"


def test_a_person_finds_all_of_a_run_on_its_page(whole: Whole, server: Server) -> None:
    row = next(row for row in whole.trials if row["phase"] == "confirmation" and row["task"] == "colours")
    narrowed = ("--trial", str(row["number"]), "--backbone", row["backbone"], "--task", row["task"])
    [shown] = whole.shell.here("show", *narrowed, "--json").document["runs"]
    done = whole.shell.here("show", *narrowed)
    assert done.code == 0, done.err
    assert "unchanged over 2 epochs" in done.out
    assert "test measurement" in shown["files"]
    for path in shown["files"].values():
        assert Path(path).exists()
        assert path in done.out
    run_id = shown["mlflow"]["url"].rpartition("/")[2]
    with urllib.request.urlopen(f"{server.uri}/api/2.0/mlflow/runs/get?run_id={run_id}") as answer:
        tags = {tag["key"]: tag["value"] for tag in json.load(answer)["run"]["data"]["tags"]}
    assert tags["orchestrator.trial_id"] == f"{row['study']}#{row['number']}", "the link leads to this very run"
    # As it stands on the page, line ends and all; the same numbers for all kinds of runs are a test of their own.
    printed = done.out[done.out.index("python -m trainables") :].split("\n --evaluate")[0]
    own = {**whole.shell.env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = subprocess.run(printed, shell=True, cwd="/", env=own, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    _, *epochs, end, measured = (json.loads(line) for line in ran.stdout.splitlines())
    assert [line["val_score"] for line in epochs] == [point["val_score"] for point in shown["curve"]]
    assert end["test"]["accuracy"] == shown["test"]["test_accuracy"]
    assert measured["perturbed_score"] == pytest.approx(shown["test"]["perturbed_score"])


# --- trials that diverge and a worker that is killed, while MLflow is down from beginning to end


@pytest.fixture(scope="module")
def marred(new_shell: Callable[[str], Shell]) -> tuple[Shell, Done]:
    shell = new_shell("marred")
    config = {
        **SMALL,
        "name": "marred",
        "space": {"base": "default", "head_learning_rate": {"choice": [0.01, 1e30]}},
        "budget": {**BUDGET, "trials": 6, "random_trials": 6},
        "resources": ONE_AT_A_TIME,
    }
    uri = f"http://127.0.0.1:{free_port()}"
    begin = time.perf_counter()
    process = shell.start("sweep", shell.write(config), "--tracking-uri", uri, "--json")
    wait_for_trials(shell, process, 2)
    for pid in processes_below(process.pid):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ResourceTrainable"):
            os.kill(pid, signal.SIGKILL)
            break
    out, err = process.communicate(timeout=240)
    return shell, Done(process.returncode, out, err, time.perf_counter() - begin)


def test_diverged_trials_fail_alone(marred: tuple[Shell, Done]) -> None:
    shell, done = marred
    rows = shell.sweep().trials.read().to_pylist()
    assert done.code == 3, done.err
    assert sum(row["num_attempts"] > 1 for row in rows) <= 1, "the worker may have been between two trials"
    for row in rows:
        diverges = row["head_learning_rate"] > 1
        assert row["state"] == ("failed" if diverges else "completed")
        assert (row["error"] or "").startswith("diverged: " if diverges else "")
        assert (row["val_score"] is None) == diverges
    states = Counter(row["state"] for row in rows)
    assert states["failed"] >= 1
    assert states["completed"] >= 2
    assert sum(row["phase"] == "confirmation" for row in rows) == 2
    assert "Traceback" not in done.err
    tests = shell.sweep().tests.read().to_pylist()
    assert len(tests) == states["completed"]
    assert done.document["ranking"][0]["num_failed"] == states["failed"]


def test_an_absent_mlflow_is_told_once_and_made_up_for(marred: tuple[Shell, Done], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    shell, done = marred
    told = [line for line in done.err.splitlines() if "cannot be written" in line]
    assert len(told) == 1, "said once while it runs"
    assert "report" in told[0]
    assert done.document["tracking"]["complete"] is False
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):
        again = shell.here("report", "--tracking-uri", uri, "--json")
        assert again.code == 0, again.err
        assert again.document["tracked"] is True
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("adapt/digits")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    ids = [run.data.tags["orchestrator.run_id"] for run in runs]
    rows = shell.sweep().trials.read().to_pylist()
    assert len(ids) == len(set(ids)) == 1 + 1 + len(rows)
    failed = sum(row["state"] == "failed" for row in rows)
    assert Counter(run.info.status for run in runs) == {"FINISHED": len(runs) - failed, "FAILED": failed}


# --- a Ctrl-C; kills are in tests/chaos


def test_ctrl_c_ranks_what_had_finished_and_leaves_no_process(new_shell: Callable[[str], Shell]) -> None:
    shell = new_shell("interrupted")
    config = {**SMALL, "name": "interrupted", "budget": {**BUDGET, "trials": 40, "random_trials": 40}}
    config |= {"backbones": [TINY], "resources": ONE_AT_A_TIME}
    process = shell.start("sweep", shell.write(config))
    wait_for_trials(shell, process, 1)
    below = processes_below(process.pid)
    begin = time.perf_counter()
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    out, err = process.communicate(timeout=60)
    seconds = time.perf_counter() - begin
    assert process.returncode == 130, err
    assert seconds <= 10
    assert gone_within(below, 10)
    assert "interrupted: ranking what had finished" in err
    assert "Traceback" not in err
    assert "test_resnet" in out
    assert "ranked" in out or "No backbone has enough finished runs" in out
    folder = shell.sweep()
    assert json.loads((folder.path / "ranking.json").read_text())["ranking"][0]["status"] == "insufficient"
    states = Counter(row["state"] for row in folder.trials.read().to_pylist())
    assert set(states) == {"completed"}, "what was running has no row"
