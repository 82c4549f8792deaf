"""A run's own command gives the numbers that the sweep recorded: real workers, without Ray."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import twin
from twin import Twin, made_up_facts, small_config

from orchestrator.config import resolved_yaml
from orchestrator.folder import SweepFolder, write_whole
from orchestrator.provenance import new_facts, study_facts
from orchestrator.runs.page import RunPage, run_pages
from orchestrator.searching import study
from orchestrator.workers.request import RunRequest
from orchestrator.workers.worker import FinetuneWorker
from trainables.__main__ import main

NAME = "timm/test_resnet@random"
NUM_BLOCKS = 7
SPACE = {
    "base": "default",
    "freeze_depth": {"choice": [0, 4, NUM_BLOCKS]},
    "head_learning_rate": {"choice": [0.01, 0.03, 1e30]},
}
TOGETHER = 2
"""Probes that are trained together, so that few of them are enough."""

Alone = Callable[[RunPage], tuple[int, list[dict[str, Any]], str]]


class RealTwin(Twin):
    """Its runs are trained, one after the other, in this process."""

    def advance(self, trial_id: str, outcome: Any = None) -> bool:
        worker = FinetuneWorker(self.requests[trial_id].to_tune())
        while not (result := worker.step())["done"]:
            self.searcher.on_trial_result(trial_id, result)
        worker.stop()
        self.searcher.on_trial_complete(trial_id, result=result)
        del self._epochs[trial_id]
        return True


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(twin, "NUM_BLOCKS", NUM_BLOCKS)
        patch.setattr(study, "MIN_TOGETHER", TOGETHER)
        yield
    torch.set_num_threads(threads)


def keep_facts(made: Twin) -> None:
    studies = study_facts(made_up_facts(made.plan, NUM_BLOCKS))
    made.folder.write_facts({**new_facts(made.config, made.plan, "sqlite:///none.db"), "studies": studies})


def trained(storage: Path, cache: None, **changes: Any) -> SweepFolder:
    config = small_config(storage=str(storage), backbones=[NAME], **changes)
    made = RealTwin(config, storage)
    write_whole(made.folder.config_file, resolved_yaml(config, redacted=True))
    keep_facts(made)
    made.run(lambda request, epoch: 0.0)
    assert any(len(request.companions) >= TOGETHER for request in made.requests.values())
    return made.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: None) -> SweepFolder:
    """Random trials, of which some diverge, then confirmations and runs on half of the samples."""
    return trained(
        tmp_path_factory.mktemp("alone"),
        cache,
        name="alone",
        space=SPACE,
        budget__trials=12,
        budget__random_trials=12,
        confirmation__train_fracs=[0.5],
        execution={"activation_cache": "off"},
        finetune={"batch_size": 40, "schedule": "step"},
    )


@pytest.fixture
def alone(cache: None) -> Alone:
    """Runs a page's command in this process. Returns its exit code, what it printed and what it complained of."""

    def alone(page: RunPage) -> tuple[int, list[dict[str, Any]], str]:
        command: str = page.document()["command"]
        python, option, module, *words = shlex.split(command)
        assert (python, option, module) == ("python", "-m", "trainables")
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(words)
        return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()

    return alone


def pages(folder: SweepFolder) -> list[RunPage]:
    numbers = sorted(folder.trials.read()["number"].to_pylist())
    return [page for number in numbers for page in run_pages(folder, number)]


def test_a_command_gives_what_was_recorded(folder: SweepFolder, alone: Alone) -> None:
    tests = {row["number"]: row for row in folder.tests.read().to_pylist()}
    seen = set()
    for page in pages(folder):
        row = page.run
        kind = "probe" if row["freeze_depth"] == NUM_BLOCKS else "whole" if row["freeze_depth"] == 0 else "behind"
        if row["state"] != "completed" or (row["phase"], kind) in seen:
            continue
        seen.add((row["phase"], kind))
        code, (start, *epochs, end), _ = alone(page)
        assert code == 0
        # Probes of the random slice are trained together, in one product of matrices: that rounds otherwise.
        is_alone = row["phase"] != "random" or kind != "probe"
        for line, epoch in zip(epochs, page.curve, strict=True):
            assert line["val_score"] == epoch["val_score"], page.depth
            for name in ("train_loss", "val_loss"):
                assert line[name] == (epoch[name] if is_alone else pytest.approx(epoch[name], rel=1e-5)), page.depth
        assert end["test"]["accuracy"] == tests[row["number"]]["test_accuracy"]
        assert (end["best_epoch"], end["frozen_digest"]) == (row["best_epoch"], row["frozen_digest"])
        assert start["num_train"] == (60 if row["phase"] == "reduced" else 120)
        assert start["num_params_trainable"] == row["num_params_trainable"]
    assert {("random", "whole"), ("random", "behind"), ("random", "probe")} <= seen
    assert {phase for phase, _ in seen} == {"random", "confirmation", "reduced"}


def test_a_failed_run_fails_the_same_way(folder: SweepFolder, alone: Alone) -> None:
    failed = next(page for page in pages(folder) if page.run["state"] == "failed")
    code, lines, err = alone(failed)
    assert code == 2
    assert failed.run["error"].removeprefix("diverged: ") in err
    assert len(lines) == 1 + failed.run["epochs"]


def test_a_window_and_a_cache_too(tmp_path: Path, cache: None, alone: Alone) -> None:
    """What was written of a request is all that decides its numbers."""
    config = small_config(storage=str(tmp_path), backbones=[NAME], execution={"activation_cache": "always"})
    made = RealTwin(config, tmp_path)
    write_whole(made.folder.config_file, resolved_yaml(config))
    keep_facts(made)
    request = made.suggest()
    assert isinstance(request, RunRequest)
    window = replace(request.config, freeze_depth=0, tune_window=(2, 4), head_init="probe", stay_near=0.01)
    made.requests["t0"] = replace(request, config=window, companions=())
    open_run = made.recorder._open[request.study, request.number]
    open_run.request = made.requests["t0"]
    made.advance("t0")
    [page] = run_pages(made.folder, 0)
    assert "only blocks 2 to 3 of 0 to 6 tuned, the other 5 frozen" in (page.depth or "")
    code, (start, *epochs, _), _ = alone(page)
    assert code == 0
    assert start["config"] == json.loads(json.dumps(asdict(window)))
    for line, epoch in zip(epochs, page.curve, strict=True):
        assert line["val_score"] == epoch["val_score"]
        assert line["train_loss"] == pytest.approx(epoch["train_loss"], rel=1e-6)
