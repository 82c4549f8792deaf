"""A worker trains probes once for all that ask, and everything else as ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.workers import probing
from orchestrator.workers.inspection import load_study
from orchestrator.workers.probing import make_run
from orchestrator.workers.request import RunRequest
from trainables.backbones import Backbone
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import Task
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.probes import ProbeGroup, ProbeRun

NAME = "torchvision/mobilenet_v3_small@random"
TASK = TaskSpec(name="digits", image_size=32, num_train=33, num_val=20, num_test=22)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backbone, Task]]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_study(TASK, NAME)


@pytest.fixture(autouse=True)
def _cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    yield
    probing._groups.clear()
    probing._capacities.clear()


def requests(num_blocks: int, num: int = 3, execution: Execution | None = None) -> list[RunRequest]:
    configs = tuple(
        FinetuneConfig(backbone=NAME, freeze_depth=num_blocks, max_epochs=2, batch_size=8, seed=seed)
        for seed in range(num)
    )
    return [
        RunRequest(
            number=number,
            phase="random",
            task=TASK,
            config=config,
            execution=execution or Execution(),
            companions=configs,
            num_threads=1,
            test_file="",
        )
        for number, config in enumerate(configs)
    ]


def test_probes_are_trained_once_with_the_results_of_each_alone(
    study: tuple[Backbone, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, task = study
    made: list[int] = []
    make = ProbeGroup._advance

    def counted(self: ProbeGroup) -> None:
        made.append(len(self.configs))
        make(self)

    monkeypatch.setattr(ProbeGroup, "_advance", counted)
    for request in requests(backbone.num_blocks):
        run, alone = make_run(request, backbone, task), make_run(replace(request, companions=()), backbone, task)
        assert isinstance(run, ProbeRun)
        assert isinstance(alone, Finetuner)
        for _ in range(2):
            epoch, expected = run.train_epoch(), alone.train_epoch()
            assert epoch.val_loss == pytest.approx(expected.val_loss, rel=1e-5)
            assert (epoch.val_score, epoch.is_best) == (expected.val_score, expected.is_best)
        assert (run.measure_test().example_scores == alone.measure_test().example_scores).all()
    assert made == [3, 3], "two epochs of three members"


def test_a_run_that_is_taken_again_is_told_the_same(study: tuple[Backbone, Task]) -> None:
    backbone, task = study
    request = requests(backbone.num_blocks)[1]
    first, second = make_run(request, backbone, task), make_run(request, backbone, task)
    assert first.train_epoch() == second.train_epoch()
    assert (first.epoch, second.epoch) == (1, 1)


def test_members_are_as_many_as_there_is_room_for(
    study: tuple[Backbone, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, task = study
    asked: list[int] = []

    def room(*_: object) -> int:
        asked.append(2)
        return 2

    monkeypatch.setattr(probing, "probe_capacity", room)
    runs = [make_run(request, backbone, task) for request in requests(backbone.num_blocks, num=5)]
    assert [isinstance(run, ProbeRun) for run in runs] == [True, True, True, True, False]
    groups = [run._group for run in runs if isinstance(run, ProbeRun)]
    assert [[config.seed for config in group.configs] for group in groups] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert groups[0] is groups[1]
    assert asked == [2], "found out once"


def test_where_they_cannot_be_together_each_has_a_fine_tuner(study: tuple[Backbone, Task]) -> None:
    backbone, task = study
    for request in requests(backbone.num_blocks, execution=Execution(activation_cache="off")):
        assert isinstance(make_run(request, backbone, task), Finetuner)
