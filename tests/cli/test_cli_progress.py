"""What the first second says, and where ``--progress`` and the stream's encoding leave their mark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_cli_start import HEAVY

from orchestrator.config import load_sweep
from orchestrator.planning.announcement import announcement
from orchestrator.planning.plan import plan

STOPPED = """
import sys
import orchestrator.requirements
from orchestrator.cli import main
from orchestrator.errors import EnvironmentUnusable

def stop():
    raise EnvironmentUnusable("stopped here; was imported: " + " ".join(sys.modules))

orchestrator.requirements.require_versions = stop
raise SystemExit(main(sys.argv[1:]))
"""


def until_the_first_import(*arguments: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A sweep that ends where it would load the first large package."""
    return subprocess.run(
        [sys.executable, "-c", STOPPED, "sweep", *arguments],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_plan_is_told_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    done = until_the_first_import(folder=tmp_path)
    assert done.returncode == 4
    *told, last = done.stderr.splitlines()
    assert not set(HEAVY) & {name.partition(".")[0] for name in last.partition(": ")[2].split()}
    assert told[0].startswith("quickstart: 4 backbones on digits; each gets 7 trials of up to 3 epochs, and its best")
    assert told[0].endswith("4 studies, 40 runs, about 116 epochs in all")
    assert [line.split()[0] for line in told[1:]] == ["data", "results", "MLflow", "time"]
    assert "300 to train on, 200 to validate" in told[1]
    assert "sweeps" in told[2]
    assert "sweeps/mlflow.db" in told[3]
    assert " at a time; measured once runs have ended" in told[4]
    assert not (tmp_path / "sweeps").exists()


def test_programs_are_told_the_plan_and_the_end_and_nothing_else(tmp_path: Path) -> None:
    done = until_the_first_import("--progress", "jsonl", folder=tmp_path)
    assert done.returncode == 4
    planned, ended = (json.loads(line) for line in done.stderr.splitlines())
    assert (planned["event"], planned["num_studies"], planned["num_runs"]) == ("plan", 4, 40)
    assert planned["storage"] == str(tmp_path / "sweeps")
    assert sum(study["num_runs"] for study in planned["studies"]) == 40
    assert planned["compute_s"] == pytest.approx(sum(study["compute_s"] for study in planned["studies"]))
    assert (ended["event"], ended["exit_code"]) == ("ended", 4)
    assert ended["error"].startswith("stopped here")


def told(*overrides: str, address: str | None = None) -> dict[str, str]:
    config = load_sweep("quickstart", overrides)
    return dict(announcement(config, plan(config), address=address))


def test_a_race_is_announced_as_a_race() -> None:
    assert told("budget.allocation=race", "budget.trials=20")[""] == (
        "quickstart: a race of 4 backbones on digits; each gets 5 trials of 3 epochs, then more while it may be the "
        "best, and what is left is confirmed with 3 fresh seeds: 4 studies, 92 runs at most"
    )


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    known = told("resources.max_concurrent=1")["time"]
    assert known.endswith("on this machine, one run at a time; measured once runs have ended")
    unknown = told("tasks.0.num_train=null", "tasks.0.num_val=null")
    assert unknown["time"].startswith("not known before the first runs have ended")
    assert unknown["data"].endswith("; its samples are counted once it is read")
    assert "divided by what the cluster runs at a time" in told(address="auto")["time"]


def test_a_password_of_mlflow_is_not_announced() -> None:
    assert told("tracking_uri=http://me:hunter222@host:5000")["MLflow"] == "http://***@host:5000"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-q", "--progress", "jsonl"), "-q is --progress none: give one of the two, got --progress jsonl beside it"),
        (("--progress", "live"), "--progress live must have a terminal on stderr"),
        (("--progress", "loud"), "'loud' is not one of 'auto', 'live', 'lines', 'jsonl', 'none'"),
    ],
)
def test_progress_that_cannot_be_meant(
    arguments: tuple[str, ...], message: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    for command in ("sweep", "resume"):
        code, out, err = run(command, *arguments)
        assert (code, out) == (2, "")
        assert message in err


def test_a_ranking_is_readable_where_there_is_no_unicode(stored: Path) -> None:
    command = [sys.executable, "-m", "orchestrator", "rank", "--storage", str(stored)]
    env: dict[str, Any] = os.environ | {"PYTHONIOENCODING": "cp437"}
    done = subprocess.run(command, env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("ascii")
    assert " +- " in text
    assert "?" not in text.replace(" ? ", "")
