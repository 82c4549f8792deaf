"""``python -m trainables`` trains one configuration alone: JSON lines out, one line per error."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from trainables.__main__ import main
from trainables.command_line import Settings, add_settings, arguments, settings
from trainables.config import FinetuneConfig, TaskSpec
from trainables.evaluation import Evaluation
from trainables.execution import Execution

SMALL = ["--backbone", "torchvision/mobilenet_v3_small@random", "--image-size", "32", "--num-threads", "1"]
SMALL += ["--num-train", "40", "--num-val", "20", "--max-epochs", "2", "--freeze-depth", "12"]
EVALUATED = ["--evaluate", "--perturbations", "none", "--num-attacked", "0", "--num-drifted", "8"]


@pytest.fixture(scope="module")
def finished() -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which then says on standard error what it has loaded."""
    script = f"""
import runpy, sys
sys.argv = ["trainables", *{SMALL!r}, *{EVALUATED!r}]
try:
    runpy.run_module("trainables", run_name="__main__", alter_sys=True)
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_every_line_is_json(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in finished.stdout.splitlines()]
    start, *epochs, end, evaluation = lines
    assert start["config"]["freeze_depth"] == 12
    assert start["num_blocks"] == 14
    assert 0 < start["num_params_trainable"] < start["num_params"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert {"train_loss", "val_loss", "val_accuracy", "val_score"} <= epochs[0].keys()
    assert end["num_test"] == 1797 - 40 - 20
    assert end["metric"] == "accuracy"
    assert 0 <= end["test"]["accuracy"] <= 1
    assert end["best_epoch"] in (1, 2)
    measures = {(m["name"], m["split"], m["condition"]): m["value"] for m in evaluation["measures"]}
    assert measures["accuracy", "test", ""] == pytest.approx(end["test"]["accuracy"])
    assert {("ece", "test", ""), ("loss", "train", ""), ("cka", "test", "block:0")} <= measures.keys()
    assert len(evaluation["confusion"]) == len(evaluation["class_names"]) == 10
    assert evaluation["perturbed_score"] is None
    assert any("perturbations is none" in note for note in evaluation["notes"])


def test_nothing_of_the_orchestration_is_imported(finished: subprocess.CompletedProcess[str]) -> None:
    loaded = {name.partition(".")[0] for name in finished.stderr.split()}
    assert "torch" in loaded
    assert {"ray", "mlflow", "optuna", "orchestrator", "search_spaces"}.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --backbone"),
        (["--backbone", "timm/resnet18", "--learning-rate", "fast"], "invalid float value: 'fast'"),
        (["--backbone", "timm/resnet18", "--optimizer", "lion"], "invalid choice: 'lion'"),
        (["--backbone", "timm/resnet18", "--batch-size", "0"], "error: batch_size must be >= 1, got 0"),
        (["--backbone", "tim/resnet18"], "did you mean 'timm/resnet18'?"),
        ([*SMALL, "--freeze-depth", "99"], "error: freeze_depth must be in [0, 14]"),
        (
            [*SMALL, "--data", "no/such/folder"],
            "error: data 'no/such/folder' is neither 'digits' nor a folder",
        ),
        ([*SMALL, "--reduced-frac", "0"], "argument --reduced-frac: must be in (0, 1], got 0"),
        ([*SMALL, "--tune-window", "1"], "argument --tune-window: expected 2 arguments"),
        ([*SMALL, "--num-train", "5"], "error: the train split of task 'task' (5 samples) has no sample of"),
    ],
)
def test_a_usage_error_is_told_with_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse's own
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert message in err


def test_an_error_has_no_traceback_unless_asked_for() -> None:
    command = [sys.executable, "-m", "trainables", "--backbone", "tim/resnet18"]
    plain, verbose = (
        subprocess.run([*command, *more], capture_output=True, text=True) for more in ((), ("--verbose",))
    )
    assert plain.returncode == 2
    assert plain.stderr.count("\n") == 1
    assert "Traceback" in verbose.stderr


CHANGED: list[Settings] = [
    FinetuneConfig(
        backbone="timm/test_resnet@random",
        tune_window=(1, 3),
        head_init="probe",
        stay_near=0.1 + 0.2,
        learning_rate=1 / 3,
        head_learning_rate=1e-7,
        weight_decay=0.0,
        layer_decay=0.7,
        batch_size=2,
        max_epochs=7,
        optimizer="sgd",
        schedule="step",
        warmup_frac=0.25,
        class_weight="balanced",
        augmentation="crop_flip",
        augment_views=3,
        precision="fp32",
        seed=2**31,
    ),
    FinetuneConfig(backbone="timm/test_resnet@random", freeze_depth=4),
    TaskSpec(
        name="my-task",
        data="/with space/and 'quotes'/$HOME",
        val_data="--odd.csv",
        test_data="-t",
        kind="regression",
        modality="text",
        input_columns=("-a", "b c"),
        label_columns=("y", "z"),
        split_column="-s",
        group_column="g=h",
        image_size=40,
        max_length=12,
        max_duration_s=0.1,
        num_train=10,
        num_val=20,
        num_test=30,
        train_frac=0.3,
        on_bad_sample="skip",
        split_seed=4,
    ),
    TaskSpec(name="few", few_shot=3),
    Execution(
        activation_cache="always",
        activation_dtype="bf16",
        compile=True,
        gradient_checkpointing=True,
        micro_batch_size=4,
    ),
    Evaluation(perturbations="none", num_perturbed=7, num_attacked=0, num_explained=2, num_drifted=3),
]


@pytest.mark.parametrize("given", CHANGED, ids=lambda given: type(given).__name__)
def test_a_command_says_settings_so_that_they_are_read_as_the_same(given: Settings) -> None:
    words = shlex.split(shlex.join(arguments(given)))
    cls = type(given)
    base: list[Settings] = [FinetuneConfig(backbone="x/y"), TaskSpec(name="task"), Execution(), Evaluation()]
    parser = argparse.ArgumentParser()
    add_settings(parser)
    rest = [word for one in base if type(one) is not cls for word in arguments(one)]
    parsed = parser.parse_args([*rest, *words])
    for one in base:
        assert settings(parsed, type(one)) == (given if type(one) is cls else one)


def test_every_setting_can_be_said() -> None:
    """What is None by default can be left out alone: so nothing else may be None."""
    said = {(type(given), field.name) for given in CHANGED for field in fields(given) if getattr(given, field.name)}
    for cls in {type(given) for given in CHANGED}:
        for field in fields(cls):
            zero = (cls, field.name) in ((FinetuneConfig, "weight_decay"), (Evaluation, "num_attacked"))
            assert (cls, field.name) in said or zero, f"{field.name} is not tried above"


def test_a_run_on_fewer_samples_keeps_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--backbone", "timm/test_resnet@random", "--image-size", "32", "--num-threads", "1", "--max-epochs", "1"]
    run += ["--num-train", "40", "--num-val", "20", "--num-test", "20", "--tune-window", "1", "2", "--device", "cpu"]
    starts = []
    for more in ([], ["--reduced-frac", "0.5"]):
        assert main([*run, *more]) == 0
        starts.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    whole, half = starts
    assert (whole[0]["num_train"], half[0]["num_train"]) == (40, 20)
    assert whole[0]["num_val"] == half[0]["num_val"] == 20
    assert whole[0]["config"]["tune_window"] == [1, 2]
    assert whole[-1]["num_test"] == half[-1]["num_test"]


class TestCheckpoint:
    RUN = ("--backbone", "timm/test_resnet@random", "--image-size", "32", "--num-threads", "1", "--batch-size", "8")
    RUN += ("--num-train", "120", "--num-val", "40", "--num-test", "40", "--max-epochs", "6", "--optimizer", "sgd")

    def lines(self, output: str) -> list[dict[str, Any]]:
        """Without what the clock says."""
        lines = [json.loads(line) for line in output.splitlines()]
        return [{name: value for name, value in line.items() if name not in ("train_s", "eval_s")} for line in lines]

    def test_a_killed_run_goes_on_to_the_same_result(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = [sys.executable, "-m", "trainables", *self.RUN, "--checkpoint", str(tmp_path / "run")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            seen = [json.loads(killed.stdout.readline()) for _ in range(3)]
            killed.send_signal(signal.SIGKILL)
        assert killed.returncode == -signal.SIGKILL
        assert seen[-1]["epoch"] == 2
        assert main([*self.RUN, "--checkpoint", str(tmp_path / "run")]) == 0
        resumed = self.lines(capsys.readouterr().out)
        assert main([*self.RUN]) == 0
        assert resumed == self.lines(capsys.readouterr().out)
        assert [line["epoch"] for line in resumed[1:-1]] == [1, 2, 3, 4, 5, 6]

    def test_a_damaged_one_is_told_and_a_folder_that_cannot_be_written_is_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        short = [*self.RUN, "--max-epochs", "1", "--num-train", "16", "--num-val", "12"]
        (tmp_path / "00001-1.safetensors").write_bytes(b"torn")
        assert main([*short, "--checkpoint", str(tmp_path)]) == 0
        first, *_ = self.lines(capsys.readouterr().out)
        assert first["notes"] == [
            "checkpoint of epoch 1 is damaged (its header is cut off or overwritten, of 4 bytes in all): begins anew"
        ]
        (tmp_path / "file").touch()
        assert main([*short, "--checkpoint", str(tmp_path / "file")]) == 4
        assert f"error: --checkpoint {tmp_path / 'file'} must be a folder" in capsys.readouterr().err
