"""What a trial costs the driver does not grow with the trials before it: work is counted, not timed."""

from __future__ import annotations

import dataclasses
import gc
import os
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from ray.tune.experiment import Trial
from rich.console import Console
from twin import NUM_BLOCKS, epoch_result, small_config

from orchestrator.config import Budget, SweepConfig
from orchestrator.display.board import LineBoard, LiveBoard
from orchestrator.folder import SweepFolder
from orchestrator.forgetting import ForgetEnded
from orchestrator.planning.plan import plan
from orchestrator.ranking.choice import MOST_RUNS, choose
from orchestrator.ranking.surface import Array, Surface, fit
from orchestrator.recorder import Recorder
from orchestrator.records import TRIALS, AppendOnlyTable
from orchestrator.searching.scheduling import StudyScheduler
from orchestrator.searching.study import Study
from orchestrator.searching.suggestion import HISTORY_LIMIT, History

FEW, MANY = 200, 2000


class CountingFile(JournalFileBackend):
    """The ledger's file, with what is read from it and how often it is written."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.num_written = self.num_read = 0

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.num_written += len(logs)
        super().append_logs(logs)

    def read_logs(self, log_number_from: int) -> Any:
        for log in super().read_logs(log_number_from):
            self.num_read += 1
            yield log


def config(num_random: int, num_tpe: int) -> SweepConfig:
    return small_config(
        backbones=["timm/tf_efficientnet_lite0"],
        budget__trials=num_random + num_tpe,
        budget__random_trials=num_random,
        budget__max_epochs=2,
    )


def one_study(settings: SweepConfig, folder: SweepFolder, ledger: CountingFile) -> Study:
    return Study(
        plan(settings).studies[0],
        index=0,
        num_blocks=NUM_BLOCKS,
        config=settings,
        folder=folder,
        storage=JournalStorage(ledger),
        trials=folder.trials.read,
    )


def run_one(study: Study) -> None:
    """A trial from its suggestion to its end, one epoch reported."""
    request = study.next()
    assert request is not None
    val_score = 0.5 + request.number % 97 / 1000
    study.report(request.number, 1, val_score)
    study.ended(request.number, "completed", val_score)


@pytest.mark.slow
def test_a_suggestion_and_its_end_cost_the_same_early_and_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials looked at, ledger entries written and read, waits for the disk: of ten TPE trials."""
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    looked_at: list[int] = []
    shown = History.trials
    monkeypatch.setattr(
        History, "trials", property(lambda history: looked_at.append(len(shown.fget(history))) or shown.fget(history))
    )

    def cost(num_before: int) -> dict[str, float]:
        ledger = CountingFile(tmp_path / f"{num_before}.journal")
        settings = config(num_before, 10)
        study = one_study(settings, SweepFolder(tmp_path), ledger)
        for _ in range(num_before):
            run_one(study)
        before = len(syncs), ledger.num_written, ledger.num_read
        looked_at.clear()
        for _ in range(10):
            run_one(study)
        return {
            "looked_at": max(looked_at),
            "syncs": len(syncs) - before[0],
            "written": ledger.num_written - before[1],
            "read": ledger.num_read - before[2],
        }

    early, late = cost(FEW), cost(MANY)
    assert late.pop("looked_at") == HISTORY_LIMIT
    assert early.pop("looked_at") == FEW + 9
    assert early == late == {"syncs": 30, "written": 30, "read": 30}, "handed out, one epoch, ended"


def test_a_table_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = AppendOnlyTable(tmp_path / "t.arrows", TRIALS)
    row = trial_row(0, 0.5)
    parsed: list[int] = []
    read = pa.ipc.read_record_batch
    monkeypatch.setattr(pa.ipc, "read_record_batch", lambda *args: parsed.append(1) or read(*args))
    for number in range(60):
        table.append({**row, "number": number})
        if number % 20 == 19:
            assert table.read()["number"].to_pylist() == list(range(number + 1))
    assert len(parsed) == 60
    assert table.read()["study"].num_chunks == 1


def test_a_table_that_was_replaced_by_another_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.arrows"
    table = AppendOnlyTable(path, TRIALS)
    for number in range(3):
        table.append({**trial_row(0, 0.5), "number": number})
    assert table.read().num_rows == 3
    path.unlink()
    AppendOnlyTable(path, TRIALS).append({**trial_row(0, 0.5), "number": 7})
    assert table.read()["number"].to_pylist() == [7]


def test_tune_is_not_asked_for_all_its_trials() -> None:
    scheduler = StudyScheduler(("a:b",), Budget())
    assert scheduler.choose_trial_to_run(SimpleNamespace()) is None


def test_ended_trials_are_emptied_one_step_later() -> None:
    def trial() -> Any:
        known = SimpleNamespace(last_result={"a": 1}, metric_analysis={"a": {}}, metric_n_steps={"a": {}})
        return SimpleNamespace(config={"number": 1}, evaluated_params={"number": 1}, run_metadata=known)

    def held(trial: Any) -> list[bool]:
        return [bool(part) for part in (trial.config, trial.evaluated_params, *vars(trial.run_metadata).values())]

    forget, completed, failed, running = ForgetEnded(), trial(), trial(), trial()
    forget.on_trial_complete(1, [], completed)
    forget.on_trial_error(1, [], failed)
    assert all(held(completed) + held(failed)), "the searcher may still be told of the end"
    forget.on_step_begin(2, [])
    assert not any(held(completed) + held(failed))
    assert all(held(running))
    forget.on_trial_complete(2, [], Trial("", stub=True))
    forget.on_step_begin(3, [])  # Tune's own has every part


def trial_row(number: int, score: float) -> dict[str, Any]:
    return {
        "study": "digits:timm/tf_efficientnet_lite0@pypi",
        "number": number,
        "task": "digits",
        "backbone": "timm/tf_efficientnet_lite0@pypi",
        "phase": "random",
        "state": "completed",
        "error": None,
        "seed": number,
        "freeze_depth": number % 19,
        "tune_stop": 18,
        "num_blocks": 18,
        "freeze_frac": number % 19 / 18,
        "learning_rate": None if number % 19 == 18 else 10 ** -(1 + number % 7 / 2),
        "head_learning_rate": 10 ** -(1 + number % 5 / 2),
        "weight_decay": 0.01,
        "head_init": "random",
        "batch_size": 32,
        "max_epochs": 1,
        "train_frac": 1.0,
        "config": "{}",
        "epochs": 1,
        "metric": "accuracy",
        "val_score": score,
        "duration_s": 0.1,
        "started_at": datetime.now(UTC),
        "finished_at": datetime.now(UTC),
    }


@pytest.mark.slow
def test_a_choice_among_thousands_asks_an_even_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The surface is fitted to no more than MOST_RUNS, and finds the hill that all of them show."""

    def score(row: dict[str, Any]) -> float:
        return 0.9 - 0.3 * abs(row["freeze_frac"] - 0.5) - 0.01 * (row["number"] * 7919 % 13) / 13

    asked: list[int] = []

    def counting_fit(points: Array, *args: Any, **named: Any) -> Surface:
        asked.append(len(points))
        return fit(points, *args, **named)

    monkeypatch.setattr("orchestrator.ranking.choice.fit", counting_fit)
    rows = [trial_row(number, 0.0) for number in range(MANY)]
    table = pa.Table.from_pylist([{**row, "val_score": score(row)} for row in rows], TRIALS)
    chosen = rows[choose(table)]
    assert asked == [MOST_RUNS]
    assert chosen["freeze_depth"] == 9


def grown(act: Callable[[int], object], num: int) -> float:
    """Bytes per call that are still held after `num` calls, the first hundred left out."""
    for number in range(100):
        act(number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(100, 100 + num):
            act(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / num
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("board", [LineBoard, LiveBoard])
def test_recorder_and_board_hold_nothing_of_trials_that_ended(tmp_path: Path, board: type) -> None:
    settings = config(1000, 0)
    planned = plan(settings)
    folder = SweepFolder.create(tmp_path, "memory", "")
    study = planned.studies[0]
    request = one_study(settings, folder, CountingFile(tmp_path / "ledger")).next()
    assert request is not None

    nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - closed below
    recorder = Recorder(folder, [board(planned, Console(file=nowhere, width=100))])

    def run(number: int) -> None:
        one = dataclasses.replace(request, number=number)
        recorder.started(one, NUM_BLOCKS)
        recorder.finished(study.key, number, epoch_result(1, 0.5, done=True))  # of 2: stopped

    with nowhere:
        assert grown(run, 400) < 200


def test_a_study_holds_its_ledger_and_no_more(tmp_path: Path) -> None:
    study = one_study(config(1000, 0), SweepFolder.create(tmp_path, "memory", ""), CountingFile(tmp_path / "ledger"))
    for _ in range(HISTORY_LIMIT):
        run_one(study)
    assert grown(lambda _: run_one(study), 300) < 8 * 1024
