"""``python -m trainables`` trains one configuration alone: JSON lines out, one line per error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

SMALL = ["--backbone", "torchvision/mobilenet_v3_small@random", "--image-size", "32", "--num-threads", "1"]
SMALL += ["--num-train", "40", "--num-val", "20", "--max-epochs", "2", "--freeze-depth", "12"]


def run(*arguments: str, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    """The command with code around it, in a process of its own."""
    script = f"""
import runpy, sys
{before}
sys.argv = ["trainables", *{list(arguments)!r}]
try:
    runpy.run_module("trainables", run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code
{after}
sys.exit(code)
"""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def refuse(*arguments: str) -> str:
    """Standard error of a command line that is refused."""
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def finished() -> subprocess.CompletedProcess[str]:
    loaded = "print(*sorted(sys.modules), file=sys.stderr)"
    return run(*SMALL, after=loaded)


def test_every_line_is_json(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in finished.stdout.splitlines()]
    start, *epochs, end = lines
    assert start["config"]["freeze_depth"] == 12
    assert start["num_blocks"] == 14
    assert 0 < start["num_params_trainable"] < start["num_params"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert {"train_loss", "val_loss", "val_accuracy", "val_score"} <= epochs[0].keys()
    assert end["num_test"] == 1797 - 40 - 20
    assert end["metric"] == "accuracy"
    assert 0 <= end["test"]["accuracy"] <= 1
    assert end["best_epoch"] in (1, 2)


def test_nothing_of_the_orchestration_is_imported(finished: subprocess.CompletedProcess[str]) -> None:
    loaded = {name.partition(".")[0] for name in finished.stderr.split()}
    assert "torch" in loaded
    assert {"ray", "mlflow", "optuna", "orchestrator", "search_spaces"}.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --backbone"),
        (["--backbone", "timm/resnet18", "--learning-rate", "fast"], "invalid float value: 'fast'"),
        (["--backbone", "timm/resnet18", "--optimizer", "adam"], "invalid choice: 'adam'"),
        (["--backbone", "timm/resnet18", "--batch-size", "0"], "error: batch_size must be >= 1, got 0"),
        (["--backbone", "tim/resnet18"], "did you mean 'timm/resnet18'?"),
        ([*SMALL, "--freeze-depth", "99"], "error: freeze_depth must be in [0, 14]"),
        ([*SMALL, "--task", "no/such/folder"], "error: data 'no/such/folder' is neither 'digits' nor a folder"),
        ([*SMALL, "--num-train", "5"], "error: the train split of task 'task' (5 samples) has no sample of"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    assert message in refuse(*arguments)


def test_verbose_shows_the_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trainables", "-v", "--backbone", "tim/resnet18"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
