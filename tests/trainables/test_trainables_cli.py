"""``python -m trainables`` trains one configuration alone: JSON lines out, one line per error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainables.__main__ import main

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
