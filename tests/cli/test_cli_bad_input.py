"""Bad input ends with its message and exit code, before anything is started, and nothing is left of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_cache: Path) -> Path:
    """The working folder of a machine without a network, on which neither Ray nor a trial may be started."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(shared_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    @contextmanager
    def without_ray(*_: Any, **__: Any) -> Iterator[None]:
        yield

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trials were started")

    monkeypatch.setattr("orchestrator.sweep.connect", without_ray)
    monkeypatch.setattr("orchestrator.sweep.slots", lambda *_: 2)
    monkeypatch.setattr("orchestrator.sweep.measure_demands", lambda *_: {})
    monkeypatch.setattr("orchestrator.sweep.run_studies", refuse)
    return folder


def refused(run: Run, here: Path, *settings: str, file: str = "quickstart") -> tuple[int, str]:
    """Exit code and message of a sweep that must not begin."""
    code, out, err = run("sweep", file, "--quiet", *(option for setting in settings for option in ("--set", setting)))
    assert out == ""
    assert "Traceback" not in err
    assert "internal error" not in err
    assert sweeps(here) == []
    return code, err


def sweeps(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_dir() and path.name.startswith("quickstart-")]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "space={learning_rate: {low: '1e-4', high: 1}}",
            "must be a finite number, got '1e-4'; write it without quotes",
        ),
        ("space={learning_rate: {low: 1, high: 1e-4}}", "must be < high (0.0001), got 1.0"),
        ("freeze_depths=[1]", "did you mean 'freeze_depth'?"),
        ("finetune={freeze_depth: 99}", "is searched by the space"),
        ("backbones=[timm/resnet18, tim/x]", "must be one of torchvision, timm, hf"),
        ("tasks.0.val_data=digits", "cannot join digits, which is split as it was published"),
        ("tasks.0={name: a, data: ./x, val_data: x}", "must not be data: a sweep would choose, or measure, by samples"),
        ("finetune={batch_size: 0}", "must be >= 1, got 0"),
        ("budget.trials='10'", "must be a whole number in [1, 100000], got '10'; write it without quotes"),
        ("budget.max_epochs=0", "must be a whole number in [1, 10000], got 0"),
        ("resources.gpus_per_trial=1.5", "must be auto, 0, a fraction below 1, or a whole number, got 1.5; 1 or 2"),
        ("metric=acuracy", "unknown key; a sweep maximises the task's own metric"),
        ("mode=maximum", "unknown key; a sweep maximises the task's own metric"),
        ("name=a/b 😀", "must be 1 to 80 letters, digits"),
        ("storage=gcs://bucket/x", "did you mean 'gs'?"),
        ("tracking_uri=./mlruns", "`mlflow migrate-filestore`"),
        (
            "tracking_uri=postgresqll://ada:hunter2@host/db",
            "got 'postgresqll://***@host/db'; did you mean 'postgresql'?",
        ),
        ("storage=s3://bucket/x", "is an object store; this version needs a folder"),
    ],
    ids=lambda text: text[:40],
)
def test_what_breaks_a_rule(run: Run, here: Path, setting: str, said: str) -> None:
    code, err = refused(run, here, setting)
    assert code == 2
    assert said in err
    assert "hunter2" not in err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "my.yaml:1  is empty: it needs a value"),
        (b"x: &a [1, 1]\ny: &b [" + b"*a, " * 99 + b"]\nz: [" + b"*b, " * 99 + b"]\n", "must have at most 100 aliases"),
        (b"name: a\n" + b"#" * 10**6, "must be at most 1 MB"),
        (b"seed: !!python/object/apply:os.system [id]\n", "my.yaml:1  must not have tags"),
        (b'name: [pip install "ray[default]"]\n', "or write one '- ' line per item"),
        (b"seed: 1\nseed: 2\n", "'seed' given twice (first on line 1)"),
    ],
    ids=["empty", "aliases", "large", "tag", "flow", "twice"],
)
def test_what_is_no_sweep_file(run: Run, here: Path, content: bytes, said: str) -> None:
    (here / "my.yaml").write_bytes(content)
    code, err = refused(run, here, file="my.yaml")
    assert code == 2
    assert said in err
    assert len(err) < 2000
    assert list(here.iterdir()) == [here / "my.yaml"]


TINY = "backbones=[timm/test_vit@random]"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["backbones=[timm/resnt18@random]"], "timm has no model 'resnt18'; did you mean 'resnet18'?"),
        (
            [TINY, "space={base: default, freeze_depth: {low: 0, high: 40}}"],
            "space for timm/test_vit@random: freeze_depth.high must be <= num_blocks (",
        ),
        (
            [TINY, "space={base: default, freeze_depth: null}", "finetune.freeze_depth=40"],
            "space for timm/test_vit@random: freeze_depth must be in [0, 7], got 40",
        ),
        (
            ["backbones=[timm/test_resnet@random]", "finetune.batch_size=1"],
            "batches must hold at least 2 samples where BatchNorm is tuned, as in timm/test_resnet@random",
        ),
        ([TINY, "tasks.0.image_size=33"], "cannot take images of 33 px"),
    ],
    ids=["unknown", "depths", "depth", "batch", "size"],
)
def test_what_only_building_the_backbone_shows(run: Run, here: Path, settings: list[str], said: str) -> None:
    code, err = refused(run, here, *settings)
    assert code == 2
    assert said in err


def folder_of_classes(root: Path, *classes: str, num: int = 6) -> Path:
    rng = np.random.default_rng(len(classes))
    for name in classes:
        (root / name).mkdir(parents=True)
        for index in range(num):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def test_data_that_cannot_be_learned_from(run: Run, here: Path) -> None:
    whole, single = folder_of_classes(here / "whole", "a", "b"), folder_of_classes(here / "single", "a")
    (folder_of_classes(here / "hollow", "a", "b") / "c").mkdir()
    (folder_of_classes(here / "damaged", "a", "b") / "a" / "0.png").write_bytes(b"x")
    (here / "copied").symlink_to(whole)
    tasks: list[tuple[dict[str, str], str]] = [
        ({"data": "wholes"}, f"did you mean '{whole}'?"),
        ({"data": str(single)}, "has 1 class folder(s)"),
        ({"data": "hollow"}, f"class folder {here / 'hollow' / 'c'} has no image"),
        ({"data": "damaged"}, "1 of 12 images cannot be read; on_bad_sample: skip leaves them out:\n  a/0.png: "),
        (
            {"data": "whole", "val_data": "copied"},
            "all 12 samples of the val split of task 't' are exact duplicates of",
        ),
        ({"data": "whole", "test_data": "hollow"}, "must have the same class folders; they differ in c"),
    ]
    for task, said in tasks:
        setting = yaml.safe_dump([{"name": "t", "image_size": 32, **task}], default_flow_style=True, width=10**6)
        code, err = refused(run, here, "backbones=[timm/test_resnet@random]", f"tasks={setting}")
        assert (code, said in err) == (4, True), err


def test_weights_that_are_not_here(run: Run, here: Path) -> None:
    code, err = refused(run, here, "backbones=[timm/test_vit@./mine.pth, timm/test_resnet]")
    assert code == 4
    assert f"there is no checkpoint file {here}/mine.pth" in err
    assert "HF_HUB_OFFLINE is set" in err


def test_a_disk_without_room(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.disk.reserve_bytes", lambda total: 2**60)
    code, err = refused(run, here, TINY)
    assert code == 4
    assert "and the networks that are kept, take an estimated" in err
    assert "are free; free " in err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_storage_that_takes_no_file(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("orchestrator.folder.write_whole", full)
    ended, err = refused(run, here, TINY)
    assert ended == 4
    assert f"must be a folder that can be written: {os.strerror(code)}; choose another --storage" in err


def test_a_storage_below_a_file(run: Run, here: Path, tmp_path: Path) -> None:
    (here / "file").write_text("")
    assert refused(run, here, "storage=file/sweeps")[0] == 4
    code, err = refused(run, here, "storage=file/sweeps", f"tracking_uri=sqlite:///{tmp_path}/mlflow.db")
    assert code == 4
    assert "must be a folder that can be written: Not a directory" in err


def test_other_versions_of_packages(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("orchestrator.doctor.pins.distribution", missing)
    code, err = refused(run, here)
    assert code == 4
    assert "ray is not installed" in err
    assert ": pip install -c " in err
    assert len(err.splitlines()) == 1
    assert list(here.iterdir()) == []


def test_a_waste_of_gpus_is_said_and_no_error(run: Run, here: Path) -> None:
    code, out, err = run("sweep", "--plan", "--set", "resources.gpus_per_trial=0.4")
    assert (code, bool(out)) == (0, True)
    assert err == (
        "note: resources.gpus_per_trial 0.4: 2 trials fit on a GPU, which leaves 20% of it unused; 0.5 uses all of it\n"
    )
    assert run("sweep", "--plan", "--quiet", "--set", "resources.gpus_per_trial=0.4")[2] == ""
