"""A password that a user gave, or that an error holds, is in nothing that is shown or left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from leaky_backbone import SECRETS
from shell import Shell
from twin import Twin, small_config

from orchestrator.cli import main
from orchestrator.config import load_sweep, resolved_yaml
from orchestrator.errors import ConfigError, UsageError
from orchestrator.folder import write_whole
from orchestrator.provenance import new_facts, study_facts
from orchestrator.stores import storage_folder, tracking_uri
from orchestrator.workers.request import RunRequest

CANARY = "s3cr3t-canary"


def holding(folder: Path) -> list[str]:
    """Files below `folder` that hold the password, as text or inside of something else."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [str(file) for file in files if CANARY.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    "setting",
    [
        f"tracking_uri=htp://ada:{CANARY}@host",
        f"tracking_uri=http://ada:{CANARY}@host:port",
        f"tracking_uri=http://ada:{CANARY}/x@host:1",
        f"tracking_uri=postgresql://ada:{CANARY}@",
        f"storage=s3://ada:{CANARY}@bucket/x",
        f"tasks.0.data=https://ada:{CANARY}@host/x.csv",
        f"backbones=['timm/x@https://ada:{CANARY}@host/x.pth']",
        f"name=http://ada:{CANARY}@host",
        f"no.such.key=http://ada:{CANARY}@host",
        f"seed=http://ada:{CANARY}@host",
    ],
)
def test_errors_in_a_sweep_file(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((ConfigError, UsageError)) as caught:  # where nobody has been told what to hide
        storage_folder(load_sweep("quickstart", [setting]))
    assert CANARY not in str(caught.value)
    assert main(["validate", "quickstart", "--set", setting, "-v"]) in (0, 2)
    assert CANARY not in "".join(capsys.readouterr())


def test_runs_that_fail_with_secrets_in_their_errors(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a server with a password that does not answer."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://ada:{CANARY}@127.0.0.1:1"
    config = small_config(tracking_uri=uri, storage=str(tmp_path), budget__trials=2)
    twin = Twin(config, tmp_path)
    write_whole(twin.folder.config_file, resolved_yaml(config, redacted=True))
    twin.folder.write_facts({**new_facts(config, twin.plan, "auto"), "studies": study_facts([])})

    def outcome(request: RunRequest, epoch: int) -> float | str:
        # What Ray itself leaves of a worker that could not even start.
        account = twin.folder.path / "tune" / Path(request.test_file).stem / "error.txt"
        account.parent.mkdir(parents=True, exist_ok=True)
        account.write_text(f"Traceback (most recent call last):\nRuntimeError: {SECRETS}\n")
        return "die" if request.number == 0 else 0.5 + 0.1 * epoch

    twin.run(outcome)
    for account in twin.folder.path.glob("tune/*/error.txt"):
        account.unlink()
    trials = twin.folder.trials.read().to_pylist()
    assert [row["error"] for row in trials if row["state"] == "failed"]
    assert tracking_uri(config) == uri
    for arguments in (["show"], ["show", "--trial", "0"], ["show", "--json"], ["ls"], ["rank"], ["report", "-v"]):
        extra = ["--tracking-uri", uri] if arguments[0] == "report" else []
        main([*arguments, *extra, "--storage", str(tmp_path)])
    out, err = capsys.readouterr()
    assert "RuntimeError: cannot fetch https://***@" in out
    assert CANARY not in out + err + caplog.text
    assert holding(tmp_path) == []


@pytest.mark.slow
def test_a_real_sweep_of_a_backbone_that_works_and_one_that_tells(new_shell: Callable[[str], Shell]) -> None:
    """The driver's environment holds the password as well, as those of the workers do."""
    shell = new_shell("secrets")
    plugin = shell.folder / "plugin"
    about = plugin / "leaky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[orchestrator.backbones]\nleaky = leaky_backbone:build\n")
    shell.env["PYTHONPATH"] = f"{plugin}:{Path(__file__).parent}"
    shell.env |= {"MLFLOW_TRACKING_TOKEN": CANARY, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    file = shell.write(
        {
            "name": "secrets",
            "tasks": [{"name": "digits", "data": "digits", "image_size": 32, "num_train": 60, "num_test": 40}],
            "backbones": ["leaky/fine", "leaky/telling"],
            "budget": {"trials": 1, "random_trials": 1, "max_epochs": 1},
            "confirmation": {"seeds": 1},
            "resources": {"max_retries": 0},
            "evaluation": None,
        }
    )
    done = shell.run("sweep", file, "--tracking-uri", f"http://ada:{CANARY}@127.0.0.1:1", "-v", timeout_s=400)
    assert done.code == 3, done.err
    trials = shell.sweep().trials.read().to_pylist()
    told = {row["error"] for row in trials if row["state"] == "failed"}
    assert any("cannot fetch https://***@" in str(error) for error in told)
    assert any(row["state"] == "completed" for row in trials)
    shown = shell.run("show", "--storage", str(shell.storage))
    assert CANARY not in done.out + done.err + shown.out + shown.err
    assert holding(shell.storage) == []
