"""What a worker takes over from the one before it, what it reports, and what it dies of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.folder import SweepFolder
from orchestrator.records import USAGE, USED
from orchestrator.workers.request import RunRequest
from orchestrator.workers.worker import FinetuneWorker
from trainables.checkpoint_file import read_checkpoint
from trainables.config import FinetuneConfig, TaskSpec
from trainables.errors import OutOfMemory
from trainables.finetune import Finetuner

NAME = "timm/test_resnet@random"
TASK = TaskSpec(name="digits", image_size=32, num_train=33, num_val=20, num_test=22)
TIMES = ("train_s", "eval_s", "duration_s", "worker_pid", *USAGE)


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return RunRequest(
        number=0,
        phase="random",
        task=TASK,
        config=FinetuneConfig(backbone=NAME, freeze_depth=2, max_epochs=3, batch_size=8),
        num_threads=1,
        test_file=str(SweepFolder.create(tmp_path, "s", "").test_file(0, 0)),
    )


def told(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in TIMES}


def steps(made: RunRequest, num: int) -> list[dict[str, Any]]:
    """What a worker reports of so many steps; then it is gone."""
    worker = FinetuneWorker(made.to_tune())
    try:
        return [worker.step() for _ in range(num)]
    finally:
        worker.stop()


def test_the_next_attempt_goes_on_where_this_one_ended(request_: RunRequest, tmp_path: Path) -> None:
    apart = replace(request_, test_file=str(SweepFolder.create(tmp_path / "b", "s", "").test_file(0, 0)))
    whole = steps(apart, 3)
    first = steps(request_, 1)
    again = request_.again(2, num_known_epochs=1)
    rest = steps(again, 2)
    assert [told(result) for result in first + rest] == [told(result) for result in whole]
    assert rest[0]["duration_s"] > first[0]["duration_s"], "what the first attempt took is counted"
    assert json.loads(Path(again.test_file).read_text()) == json.loads(Path(apart.test_file).read_text())
    assert not Path(request_.test_file).exists()


def test_what_each_epoch_took_is_told_with_it_and_outlives_the_worker(request_: RunRequest) -> None:
    first = steps(request_, 1)[0]
    assert first["cpu_cores"] > 0
    assert first["host_memory_mib"] > 50
    assert 0 < first["elapsed_s"] <= first["duration_s"]
    again = request_.again(2, num_known_epochs=0)
    second = steps(again, 1)[0]
    [untold] = json.loads(second["untold"])
    assert {name: untold[name] for name in USAGE} == {name: first[name] for name in USAGE}
    assert second["elapsed_s"] > first["elapsed_s"]
    saved = read_checkpoint(request_.checkpoint_folder)
    assert saved is not None
    assert [saved.facts[USED][epoch]["elapsed_s"] for epoch in ("1", "2")] == [first["elapsed_s"], second["elapsed_s"]]


def test_who_dies_after_the_last_epoch_only_has_to_be_measured(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Finetuner, "measure_test", _killed)
        with pytest.raises(RuntimeError, match="killed"):
            steps(request_, 3)
    saved = read_checkpoint(request_.checkpoint_folder)
    assert saved is not None
    assert saved.epoch == 3
    monkeypatch.setattr(Finetuner, "train_epoch", _killed)
    [last] = steps(request_.again(2, num_known_epochs=3), 1)
    assert (last["epoch"], last["done"]) == (3, True)
    assert last["val_score"] == saved.epochs[-1].val_score


def test_a_disk_without_room_for_checkpoints_costs_the_checkpoints(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.workers.worker.save_checkpoint", full)
    assert [result["epoch"] for result in steps(request_, 3)] == [1, 2, 3]
    assert read_checkpoint(request_.checkpoint_folder) is None


def test_epochs_that_the_driver_has_not_heard_of_are_told_late(request_: RunRequest) -> None:
    """A worker that is cut off goes on for a while: it may save an epoch after the driver has looked."""
    first = steps(request_, 2)
    late, last = steps(request_.again(2, num_known_epochs=1), 1)[0], first[1]
    assert late["epoch"] == 3
    [untold] = json.loads(late["untold"])
    assert untold == {name: last[name] for name in untold}
    assert untold["epoch"] == 2


def test_what_can_never_work_is_reported_by_a_worker_that_lives(request_: RunRequest) -> None:
    deep = replace(request_, config=replace(request_.config, freeze_depth=99))
    [result] = steps(deep, 1)
    assert result["done"]
    assert result["error"].startswith("InvalidConfig: freeze_depth")
    assert "Traceback" in deep.error_file.read_text()


def test_a_worker_without_memory_gives_way_to_another(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(run: Finetuner) -> None:
        raise OutOfMemory("the GPU is full")

    monkeypatch.setattr(Finetuner, "train_epoch", full)
    with pytest.raises(Exception, match="the GPU is full"):
        steps(request_, 1)
    assert "OutOfMemory: the GPU is full" in request_.error_file.read_text()


def test_a_damaged_checkpoint_is_said_and_the_one_before_serves(request_: RunRequest) -> None:
    steps(request_, 2)
    newest = sorted(request_.checkpoint_folder.glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    again = request_.again(2, num_known_epochs=2)
    results = steps(again, 2)
    assert [result["epoch"] for result in results] == [2, 3]
    assert results[0]["notes"].startswith("checkpoint of epoch 2 is damaged")
    assert results[0]["notes"].endswith("went back to epoch 1")
    assert results[1]["notes"] == "", "once is enough"


def _killed(*_: object) -> None:
    raise RuntimeError("killed")
