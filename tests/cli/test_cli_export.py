"""``export``: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_model import make_model

from orchestrator.folder import SweepFolder

Run = Callable[..., tuple[int, str, str]]

BEST, CONTROL = "timm/tf_efficientnet_lite0@pypi", "timm/tf_efficientnet_lite0@random"


@pytest.fixture
def sweep(stored: Path, tmp_path: Path) -> SweepFolder:
    """A finished sweep with a kept network of its better backbone."""
    [finished] = stored.glob("finished-*")
    folder = SweepFolder(Path(shutil.copytree(finished, tmp_path / "sweeps" / finished.name)))
    rows = folder.trials.read().to_pylist()
    number = min(r["number"] for r in rows if r["backbone"] == BEST and r["phase"] == "confirmation")
    index = folder.study_indices()[f"digits:{BEST}"]
    make_model(folder.model_folder(index, number), backbone=BEST, origin={"sweep": folder.sweep_id, "number": number})
    return folder


@pytest.fixture
def export(run: Run, sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in a folder of its own, on that sweep."""
    monkeypatch.chdir(sweep.path.parents[1])
    return lambda *arguments: run("export", *arguments)


def test_the_leader_becomes_a_folder_of_its_own(export: Run, sweep: SweepFolder) -> None:
    code, out, err = export()
    assert (code, err) == (0, "")
    made = sweep.path.parents[1] / "tf_efficientnet_lite0-pypi-digits"
    assert (made / "MLmodel").exists()
    assert "fine-tuned on digits" in (made / "README.md").read_text()
    assert out.splitlines()[0].startswith(f"model     {BEST} tuned on digits: test accuracy 0.800 on 400 samples")
    assert f'mlflow.pyfunc.load_model("{made}")' in out


def test_as_json_and_under_the_name_of_a_table(export: Run, sweep: SweepFolder, tmp_path: Path) -> None:
    code, out, err = export(sweep.sweep_id, "--backbone", "tf_efficientnet_lite0@pypi", "--output", "a/b", "--json")
    assert (code, err) == (0, "")
    document: Any = json.loads(out)
    assert (document["backbone"], document["test_score"], document["registered"]) == (BEST, 0.8, None)
    assert document["path"] == str(tmp_path / "a" / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b"], "nothing is left beside it"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--backbone", "tf_efficientnet_lite9@pypi"), "did you mean 'tf_efficientnet_lite0@pypi'?; it has"),
        (("--task", "digit"), "has no task 'digit'; did you mean 'digits'?; it has digits"),
        (("--backbone", CONTROL), f"has no network of {CONTROL}; it has one of {BEST}; none of its confirmations left"),
        (("--output", "sweeps"), "must be a folder that does not exist yet, got sweeps; name another --output"),
        (("--register", "a/b"), "--register must be a name of letters"),
    ],
)
def test_what_cannot_be_meant(export: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = export(*arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_the_command_that_keeps_one_is_told(export: Run, sweep: SweepFolder) -> None:
    _, _, err = export("--backbone", CONTROL)
    assert f"sweep --extend {sweep.sweep_id}" in err
    assert "--set confirmation.seeds=3" in err
    config = sweep.config_file.read_text()
    assert "keep_model: true" in config
    sweep.config_file.write_text(config.replace("keep_model: true", "keep_model: false"))
    code, _, err = export("--backbone", CONTROL)
    assert code == 2
    assert "--set confirmation.keep_model=true" in err


def test_a_sweep_without_a_result_says_how_to_go_on(export: Run, stored: Path, sweep: SweepFolder) -> None:
    [begun] = stored.glob("begun-*")
    shutil.copytree(begun, sweep.path.parent / begun.name)
    code, _, err = export(begun.name)
    assert code == 2
    assert f"resume {begun.name}" in err
