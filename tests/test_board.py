"""What a running sweep shows, driven by the real searcher and recorder with made-up results."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from twin import Twin, epoch_result, small_config

from orchestrator.config import SweepConfig
from orchestrator.display.board import Board, EventBoard, LineBoard, LiveBoard, make_board
from orchestrator.display.board.usage import Usage
from orchestrator.events import EventWriter
from orchestrator.planning.plan import plan
from orchestrator.spelling import survive
from orchestrator.workers.request import RunRequest

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


def test_on_a_cluster_the_board_says_what_is_held_of_it() -> None:
    console = Console(file=io.StringIO(), width=80, height=24)
    board = LiveBoard(plan(small_config()), console)
    board.held({"CPU": (14.0, 16.0), "GPU": (1.5, 2.0)}, num_nodes=3)
    assert frame(board, console)[-1].endswith("14 of 16 CPU, 1.5 of 2 GPU held on 3 nodes")


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
