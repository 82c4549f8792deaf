"""A real sweep as its user sees it: behind a terminal of 80 columns and 24 lines."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from pseudo_terminal import Seen, watch
from rich.console import Console
from shell import Shell

from orchestrator.config import load_sweep
from orchestrator.display.board import LiveBoard
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import plan

pytestmark = [
    pytest.mark.slow,
    # mlflow and sqlalchemy leave sqlite connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SWEEP: dict[str, Any] = {
    "name": "minute",
    "tasks": [{"name": "digits", "num_train": 120, "num_val": 60, "num_test": 100, "image_size": 32}],
    "backbones": ["timm/test_resnet@random", "timm/test_vit@random"],
    "budget": {"trials": 3, "random_trials": 2, "max_epochs": 2},
    "confirmation": {"seeds": 2},
    "finetune": {"batch_size": 24},
    "resources": {"gpus_per_trial": 0, "max_concurrent": 1},  # a worker takes ten seconds to load
    "evaluation": None,
}


@dataclass(frozen=True)
class Minute:
    """A sweep and what was seen of it."""

    seen: Seen
    folder: SweepFolder
    shell: Shell


@pytest.fixture(scope="module")
def minute(new_shell: Callable[[str], Shell]) -> Minute:
    shell = new_shell("minute")
    seen = watch("sweep", shell.write(SWEEP), folder=shell.folder, env=shell.env, width=80)
    assert seen.code == 0, "\n".join(seen.last)
    return Minute(seen, shell.sweep(), shell)


def test_the_first_second_says_what_will_happen(minute: Minute) -> None:
    assert minute.seen.first_s < 4, "1 s on an idle machine"
    first = minute.seen.frames[0]
    assert first[0].startswith("minute: 2 backbones on digits; each gets 3 trials of up to 2 epochs")
    labels = [line.split()[0] for line in first if line[:1].strip()]
    assert labels == ["minute:", "data", "results", "MLflow", "time"]


def test_one_board_is_redrawn_in_place(minute: Minute) -> None:
    boards = [frame for frame in minute.seen.frames if any("slots busy" in line for line in frame)]
    assert len(boards) > 10
    for frame in boards:
        assert sum(line.split()[:3] == ["backbone", "val", "freeze"] for line in frame) == 1
        rows = [line.replace("■ ", "").split()[0] for line in frame if line]
        assert (rows.count("test_resnet"), rows.count("test_vit")) == (1, 1)
    lines = [line for frame in boards for line in frame]
    for said in ("searching", "confirming", "CPU ", " of 10 runs", "1 of 1 slots busy", "now: test_", "epoch 2/2"):
        assert any(said in line for line in lines), said
    assert any("time left: once a run has ended" in line for line in lines)
    ended = [int(line.split(" of 10 runs")[0].split()[-1]) for line in lines if " of 10 runs" in line]
    assert all(before <= after for before, after in pairwise(ended))
    assert {"about", "left"} <= set(" ".join(line for line in lines if " of 10 runs" in line).split())


def test_the_end_is_on_one_screen(minute: Minute) -> None:
    last = minute.seen.last
    assert not any("slots busy" in line for line in last), "the board is gone"
    title = next(at for at, line in enumerate(last) if line.startswith("digits: adaptability in points"))
    assert "rank" in " ".join(last[title + 1 : title + 4])
    sweep = minute.folder.sweep_id
    assert last[-3:] == [
        f"report    sweeps/{sweep}/report.html",
        f"compare   python -m orchestrator ui {sweep}",
        "your data python -m orchestrator init --data ./your_folder",
    ]
    assert (minute.folder.path / "report.html").is_file()


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["color", "no color"])
def test_what_happened_is_shown_at_every_width(minute: Minute, width: int, env: dict[str, str]) -> None:
    file = io.StringIO()
    console = Console(
        file=file, width=width, height=24, force_terminal=True, _environ={"TERM": "xterm-256color", **env}
    )
    board = LiveBoard(plan(load_sweep(minute.folder.config_file)), console)
    board.past(minute.folder.trials.read().to_pylist())
    console.print(board)
    assert ("38;" in file.getvalue()) == (not env)
    plain = Console(file=io.StringIO(), width=width, height=24)
    with plain.capture() as capture:
        plain.print(board)
    lines = capture.get().splitlines()
    assert ("■" in lines[2]) == (not env)
    assert all(len(line) <= width for line in lines)
    resnet, vit = (line.replace("■ ", "").split() for line in lines[2:4])
    assert (resnet[0], vit[0]) == ("test_resnet", "test_vit")
    scores = [row["val_score"] for row in minute.folder.trials.read().to_pylist() if row["phase"] in ("random", "tpe")]
    assert f"{max(scores):.3f}" in (resnet[1], vit[1])


def test_nothing_else_was_printed(minute: Minute) -> None:
    for word in ("Traceback", "Warning", "ray::", "Trial status", "\ufffd"):
        assert word not in minute.seen.raw, word


def test_a_wide_terminal_shows_more(minute: Minute) -> None:
    shell, extended = minute.shell, ("sweep", "--extend", minute.folder.sweep_id, "--set", "confirmation.seeds=3")
    seen = watch(*extended, folder=shell.folder, env=shell.env, width=200, height=50)
    assert seen.code == 0, "\n".join(seen.last)
    boards = [frame for frame in seen.frames if any("slots busy" in line for line in frame)]
    assert boards
    narrow, wide = (
        max((line for frame in frames for line in frame if line.split()[:1] == ["backbone"]), key=len).split()
        for frames in (minute.seen.frames, boards)
    )
    assert set(narrow) < set(wide), "columns that 80 have no room for"
    [header] = [line for line in seen.last if line.split()[:1] == ["rank"]]
    assert 80 < len(header) < 200
    assert "P(best)" in header
    assert "P(best)" not in "".join(minute.seen.last)
    assert seen.last[-3].startswith("report    ")
