"""What a running sweep shows, driven by the real searcher and recorder with made-up results."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from twin import Twin, epoch_result, small_config

from orchestrator.allocation import Race
from orchestrator.config import SweepConfig, load_sweep
from orchestrator.display.board import Board, EventBoard, LineBoard, LiveBoard, make_board
from orchestrator.display.board.pace import Pace
from orchestrator.display.board.state import SweepState
from orchestrator.display.board.usage import Usage
from orchestrator.events import EventWriter
from orchestrator.plan import plan
from orchestrator.request import RunRequest
from orchestrator.spelling import survive

RANDOM, SEARCH, CONFIRMATION = ("random", 1.0), ("searched", 1.0), ("confirmation", 1.0)
KEYS = {
    "run_started": {"study", "number", "phase", "attempt", "cause", "seed", "freeze_depth", "config", "max_epochs"},
    "epoch": {"study", "number", "epoch", "max_epochs", "val_score", "val_loss", "train_loss", "train_s", "eval_s"},
    "run_finished": {"study", "number", "phase", "state", "error", "epochs", "val_score", "num_ended", "left_s"},
    "said": {"message"},
}


def score(request: RunRequest, epoch: int) -> float | str:
    """The third trial of each study is stopped, the fourth diverges."""
    if request.phase == "tpe":
        return "stop" if request.number == 2 else "diverge"
    return 0.5 + 0.01 * request.number + 0.1 * request.config.backbone.endswith("@pypi")


def played(board: Callable[[SweepConfig], Board], tmp_path: Path, most: int = 10_000, **changes: Any) -> Board:
    """A board that was told of `most` runs."""
    config = small_config(**changes)
    made = board(config)
    made.slots(2)
    Twin(config, tmp_path, (made,)).run(score, most=most)
    return made


def frame(board: LiveBoard, console: Console) -> list[str]:
    with console.capture() as capture:
        console.print(board)
    return capture.get().splitlines()


def live(console: Console) -> Callable[[SweepConfig], LiveBoard]:
    return lambda config: LiveBoard(plan(config), console)


@pytest.mark.parametrize("width", [80, 200])
def test_the_live_board_says_what_there_is_to_say(width: int, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=width, height=24)
    board = played(live(console), tmp_path, most=8)
    assert isinstance(board, LiveBoard)
    board.run_started(started(number=99))
    lines = frame(board, console)
    assert all(len(line) <= width for line in lines)
    best, header, pretrained, untrained, standing, machine, now = (line.split() for line in lines)
    assert best[0] == "best"
    assert " ".join(header).startswith("backbone val freeze lr ")
    assert ("head" in header) == (width == 200)
    assert {"done", "stop", "fail"} <= set(header)
    assert pretrained[0] == "tf_efficientnet_lite0@pypi"
    assert untrained[:2] == ["tf_efficientnet_lite0@random", "0.510"]
    assert "of" in standing
    assert "left" in standing
    assert " ".join(machine).endswith("2 slots busy") or "CPU" in machine
    assert " ".join(now) == "now: tf_efficientnet_lite0@pypi #99 epoch 1/2"
    board.epoch({"study": "digits:timm/tf_efficientnet_lite0@pypi", **epoch_row(99, 1)})
    assert frame(board, console)[-1].endswith("#99 epoch 2/2")


def started(**changes: Any) -> dict[str, Any]:
    return {
        "study": "digits:timm/tf_efficientnet_lite0@pypi",
        "number": 0,
        "phase": "random",
        "task": "digits",
        "backbone": "timm/tf_efficientnet_lite0@pypi",
        "config": {"max_epochs": 2},
        "seed": 0,
        "freeze_depth": 3,
        "tune_stop": 18,
        "num_blocks": 18,
        "freeze_frac": 0.1,
        "train_frac": 1.0,
        "attempt": 1,
        "cause": None,
        **changes,
    }


def epoch_row(number: int, epoch: int) -> dict[str, Any]:
    return {"number": number, **epoch_result(epoch, 0.5)}


def test_more_studies_than_lines_leave_some_out_but_not_those_that_run(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80, height=12)
    names = ["resnet18", "resnet34", "resnet50", "resnet101", "vgg11", "vgg13", "vgg16", "vgg19", "alexnet"]
    config = small_config(backbones=[f"torchvision/{name}@random" for name in names])
    board = LiveBoard(plan(config), console)
    board.run_started(started(study="digits:torchvision/alexnet@random"))
    lines = frame(board, console)
    assert len(lines) <= 11
    assert any(line.startswith(" alexnet ") for line in lines)
    assert " and 4 more studies" in lines


def test_a_screen_without_unicode_shows_ascii_and_loses_nothing(tmp_path: Path) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii", write_through=True)
    survive(stream)
    console = Console(file=stream, width=80, height=24, force_terminal=True, color_system=None)
    board = played(live(console), tmp_path, most=6)
    assert isinstance(board, LiveBoard)
    with board.shown():
        board.say("R² of 0.9 ± 0.1 · or ≥ 5 …")
        lines = frame(board, console)
    assert all(line.isascii() for line in lines)
    text = written.getvalue().decode("ascii")
    assert "R2 of 0.9 +- 0.1 - or >= 5 ..." in text
    assert "?" not in text.replace("\x1b[?25l", "").replace("\x1b[?25h", "")


def test_a_line_per_run_is_short_and_says_how_long_it_takes(tmp_path: Path) -> None:
    file = io.StringIO()
    board = played(lambda config: LineBoard(plan(config), Console(file=file, width=160)), tmp_path)
    lines = file.getvalue().splitlines()
    assert board.state.ended == len(lines) == 12
    assert [line[:7] for line in lines] == [f"[{number:>2}/12]" for number in range(1, 13)]
    assert max(len(line) for line in lines if "diverged" not in line) <= 120
    assert sum("stopped" in line for line in lines) == sum("failed: diverged" in line for line in lines) == 2
    assert "\x1b" not in file.getvalue()
    assert lines[9].endswith(" left")
    assert sum(line.endswith(" left") for line in lines) == 1


def test_quiet_boards_say_sentences_alone(tmp_path: Path) -> None:
    file = io.StringIO()
    board = played(lambda config: make_board(plan(config), Console(file=file), "none"), tmp_path)
    board.say("a sentence")
    assert file.getvalue() == "a sentence\n"


def test_events_are_json_with_the_documented_keys(tmp_path: Path) -> None:
    file = io.StringIO()
    board = played(lambda config: EventBoard(plan(config), EventWriter(file)), tmp_path)
    board.say("a sentence")
    events = [json.loads(line, parse_constant=pytest.fail) for line in file.getvalue().splitlines()]
    assert {event["event"] for event in events} == {*KEYS, "slots"}
    for event in events:
        assert KEYS.get(event["event"], set()) <= event.keys()
        assert datetime.fromisoformat(event["at"]).utcoffset() is not None
    of_runs = [event for event in events if event["event"] == "run_finished"]
    assert [event["num_ended"] for event in of_runs] == list(range(1, 13))
    assert of_runs[-1]["left_s"] == 0
    assert not any("test" in key for event in events for key in event)


def test_events_hold_neither_nan_nor_secrets() -> None:
    file = io.StringIO()
    values = {"a": math.nan, "b": [math.inf, {"c": "sqlite://me:hunter222@host/db"}], "d": Path("x")}
    EventWriter(file).write("said", **values)
    event = json.loads(file.getvalue())
    assert (event["a"], event["b"], event["d"]) == (None, [None, {"c": "sqlite://***@host/db"}], "x")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("file", "env", "kind"),
    [
        (Terminal(), {"TERM": "xterm"}, LiveBoard),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, LiveBoard),
        (Terminal(), {"TERM": "dumb"}, LineBoard),
        (io.StringIO(), {"TERM": "xterm"}, LineBoard),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, LineBoard),
    ],
)
def test_a_board_is_live_where_it_can_be(file: io.StringIO, env: dict[str, str], kind: type[Board]) -> None:
    planned = plan(small_config())
    assert type(make_board(planned, Console(file=file, _environ=env))) is kind
    assert isinstance(make_board(planned, Console(file=file, _environ=env), "jsonl"), EventBoard)


class NoGpuError(Exception):
    """What NVIDIA's bindings raise where their driver is missing."""


def bindings(**calls: Any) -> SimpleNamespace:
    """NVIDIA's, of a machine with two GPUs of 80 GiB."""
    two = {
        "NVMLError": NoGpuError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=80 + 10 * handle),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=10 * 2**30, total=80 * 2**30),
    }
    return SimpleNamespace(**{**two, **calls})


def broken(*arguments: Any) -> Any:
    raise NoGpuError


@pytest.mark.parametrize(
    ("nvml", "gpus"),
    [
        (None, ""),
        (bindings(), ", 2 GPUs 85 %, 20.0 of 160.0 GiB"),
        (bindings(nvmlDeviceGetCount=lambda: 1), ", GPU 80 %, 10.0 of 80.0 GiB"),
        (bindings(nvmlDeviceGetCount=lambda: 0), ""),
        (bindings(nvmlInit=broken), ""),
        (bindings(nvmlDeviceGetUtilizationRates=broken), ""),
    ],
    ids=["no bindings", "two", "one", "none", "no driver", "broken"],
)
def test_gpus_are_shown_where_there_are_any(nvml: Any, gpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # None: as if it were not installed
    monkeypatch.setattr("orchestrator.display.board.usage._LOOK_EVERY_S", 0.0)
    usage = Usage()
    assert re.sub(r"\d+", "n", usage.text(), count=1) == f"CPU n %{gpus}"


# --- how long it takes


def quickstart(*overrides: str) -> Any:
    return plan(load_sweep("quickstart", list(overrides)))


def test_a_run_on_fewer_samples_is_taken_for_its_share() -> None:
    planned = quickstart("confirmation.train_fracs=[0.1]", "budget.max_epochs=10")
    one, other = planned.studies[0].key, planned.studies[1].key
    pace = Pace(planned)
    pace.learn(one, RANDOM, cost_s=30.0, epochs=10)
    assert pace.run_s(one, ("reduced", 0.1)) == pytest.approx(3.0)
    assert pace.run_s(one, RANDOM) == pace.run_s(one, CONFIRMATION) == 30.0
    assert 30.0 * 2 / 10 <= (pace.run_s(one, SEARCH) or 0) < 30.0, "some are stopped, none before its second epoch"
    pace.learn(one, ("reduced", 0.1), cost_s=5.0, epochs=10)
    assert pace.run_s(one, ("reduced", 0.1)) == 5.0
    pace.learn(one, CONFIRMATION, cost_s=60.0, epochs=10)
    pace.learn(other, RANDOM, cost_s=50.0, epochs=10)
    assert 50.0 < (pace.run_s(other, CONFIRMATION) or 0) <= 120.0, "as much dearer as the first study's"


def test_a_study_that_has_not_begun_costs_what_the_plan_says_beside_the_others() -> None:
    planned = quickstart()
    small, large = planned.studies[0], planned.studies[2]
    pace = Pace(planned)
    whole = sum(planned.seconds(study) for study in planned.studies)
    guessed = sum(
        study.random_trials * pace.run_s(study.key, RANDOM)
        + (study.trials - study.random_trials) * pace.run_s(study.key, SEARCH)
        + study.confirmations * pace.run_s(study.key, CONFIRMATION)
        for study in planned.studies
    )
    assert guessed == pytest.approx(whole), "before anything is measured"
    assert not pace.is_measured
    pace.learn(small.key, RANDOM, cost_s=8.0, epochs=3)
    ratio = planned.seconds(large) / planned.seconds(small)
    assert pace.run_s(large.key, RANDOM) == pytest.approx(8.0 * ratio)
    unknown = replace(
        planned, studies=tuple(replace(study, forward_flops=None, train_flops=None) for study in planned.studies)
    )
    pace = Pace(unknown)
    assert pace.run_s(large.key, RANDOM) is None
    pace.learn(small.key, RANDOM, cost_s=8.0, epochs=3)
    assert pace.run_s(large.key, RANDOM) == 8.0


def test_what_is_left_is_shared_by_the_slots(tmp_path: Path) -> None:
    """Of 2 studies with 4 trials and 2 confirmations all random trials have ended: 1.4 s for two epochs."""
    board = played(lambda config: LineBoard(plan(config), Console(file=io.StringIO())), tmp_path, most=4)
    state = board.state
    assert (state.ended, state.total, state.is_measured) == (4, 12, True)
    searched = 1.4 * (1 + 1 / 3) / 2  # one in three goes on after the first of two epochs
    assert state.left_s == pytest.approx((4 * searched + 4 * 1.4) / 2)
    state.slots = 100
    assert state.left_s == pytest.approx(1.4), "no sooner than the longest of them"


def test_a_study_without_a_score_is_not_confirmed() -> None:
    state = SweepState(plan(small_config()))
    study = state.studies["digits:timm/tf_efficientnet_lite0@pypi"]
    for number in range(4):
        assert study.total == 6
        study.finish({"number": number, "phase": "random", "train_frac": 1.0, "state": "failed", "val_score": None})
    assert study.total == 4


def test_a_race_counts_fewer_runs_as_it_drops_and_ends() -> None:
    config = small_config(budget={"allocation": "race", "trials": 10, "random_trials": 3, "max_epochs": 2})
    board = LineBoard(plan(config), Console(file=(file := io.StringIO())))
    state = board.state
    first, second = state.studies
    assert (state.total, state.is_total_known) == (24, False), "20 trials and 4 confirmations at most"
    race = Race([first, second], random_trials=3, trials=10, seed=0)
    board.raced(race)
    assert (state.studies[first].total, state.total) == (race.granted[first] + 2, 24)
    for number in range(3):
        for study in (first, second):
            board.run_finished(trial(study, number), None, None)
    race.running.remove(second)
    board.raced(race)
    assert state.studies[second].total == 3
    assert state.total == 20 + 2
    race.outcome = "alone"
    board.raced(race)
    assert (state.total, state.is_total_known) == (3 + 3 + 2, True)
    assert state.phase == "confirming"
    assert "the race on digits is over (alone); to be confirmed: tf_efficientnet_lite0@pypi" in file.getvalue()


def trial(study: str, number: int) -> dict[str, Any]:
    return {
        "study": study,
        "number": number,
        "phase": "random",
        "train_frac": 1.0,
        "state": "completed",
        "val_score": 0.5,
        "metric": "accuracy",
        "error": None,
        "duration_s": 1.0,
        "epochs": 2,
        "num_attempts": 1,
        "learning_rate": 1e-3,
        "head_learning_rate": 1e-2,
        "freeze_depth": 0,
        "tune_stop": 18,
        "num_blocks": 18,
    }
