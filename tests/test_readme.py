"""Every command of the README is executed.

One small sweep serves all commands that look at results. What is appended to a command to make it short is an option
that the README documents: `--set` of a sweep, sizes of a single run. What cannot run here is in `CHECKED_ONLY`, with
the reason; a command that is in neither place fails.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow_server import free_port
from PIL import Image
from readme_blocks import Block, Command, blocks, scores, shell_commands, spans
from readme_checks import CHECKED_ONLY, check, ci, parse_ours
from shell import Done, Shell

from orchestrator.folder import list_sweeps

pytestmark = [
    pytest.mark.slow,
    # mlflow and sqlalchemy leave sqlite connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

FLOWERS = ("daisy", "rose", "tulip")
TINY = ["timm/test_vit@random", "timm/test_resnet@random"]
SHORT = {
    "backbones": TINY,
    "tasks.0.image_size": 32,
    "budget": {"trials": 2, "random_trials": 2, "max_epochs": 1, "grace_epochs": 1},
    "confirmation.seeds": 2,
    "evaluation": None,
    "resources": {"gpus_per_trial": 0, "max_concurrent": 1},  # a worker takes seconds of a CPU to load
}
"""Of the sweep that is run for real."""

BEFORE = "elsewhere/before"
MORE = "budget.trials=3"
"""Trials that ``sweep --extend`` grants it."""

FEW_SAMPLES = ["--num-train", "40", "--num-val", "20", "--num-test", "20", "--max-epochs", "1", "--num-threads", "1"]
"""Of a single run."""

SLOW = ("orchestrator report", "orchestrator resume", "orchestrator doctor", "orchestrator ui", "orchestrator export")
"""Where a block of the README runs one of these, its options are all that is checked of it in running text."""


@pytest.fixture(scope="module")
def shell(new_shell: Callable[[str], Shell], repository: Path) -> Shell:
    """A folder with a few flowers, and the files that the README names."""
    made = new_shell("readme")
    rng = np.random.default_rng(0)
    for number, name in enumerate(FLOWERS):
        (made.folder / "flowers" / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 80, (24, 24, 3), dtype=np.uint8)
            pixels[..., number] += 120
            Image.fromarray(pixels).save(made.folder / "flowers" / name / f"{index}.png")
    for file in repository.glob("cluster*.yaml"):
        shutil.copy(file, made.folder)
    shutil.copy(made.folder / "flowers" / FLOWERS[0] / "0.png", made.folder / "photo.png")
    (made.folder / "scores.csv").write_text(scores(), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def described(shell: Shell) -> Done:
    """The README's ``init``."""
    [command] = [command for command in shell_commands() if command.key == "orchestrator init"]
    return shell.here("init", *command.arguments)


@pytest.fixture(scope="module")
def swept(shell: Shell, described: Done) -> Done:
    """The README's sweep of the file that ``init`` wrote."""
    assert described.code == 0, described.err
    [command] = [command for command in shell_commands() if _is_sweep_of_a_file(command)]
    short = [word for key, value in SHORT.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    done = shell.run("sweep", *command.arguments, *short, "-q")
    # Another sweep to compare it with: the same one, in another place.
    shutil.copytree(shell.sweep().path, shell.folder / BEFORE)
    return done


@pytest.fixture(scope="module")
def extended(shell: Shell, swept: Done) -> Done:
    assert swept.code == 0, swept.err
    return shell.run("sweep", "--extend", _newest(shell), "--set", MORE, "-q")


@pytest.fixture(scope="module")
def exported(shell: Shell, swept: Done) -> Done:
    """The README's ``export`` of a model into a folder."""
    assert swept.code == 0, swept.err
    [command] = [command for command in shell_commands() if _is_export_to_a_folder(command)]
    return shell.run("export", *_filled(command, shell))


def _is_export_to_a_folder(command: Command) -> bool:
    return command.key == "orchestrator export" and "--output" in command.arguments


def _newest(shell: Shell) -> str:
    return next(found.path.name for found in list_sweeps(shell.storage))


def _is_sweep_of_a_file(command: Command) -> bool:
    return command.key == "orchestrator sweep" and re.fullmatch(r"\S+\.yaml", " ".join(command.arguments)) is not None


@pytest.mark.parametrize("command", list(dict.fromkeys([*shell_commands(), *spans()])), ids=str)
def test_command(command: Command, request: pytest.FixtureRequest, repository: Path) -> None:
    kind = command.key.split()[0]
    shown = shell_commands()
    if command.key in CHECKED_ONLY:
        check(command, repository)
    elif command.key in SLOW and command not in shown and command.key in {other.key for other in shown}:
        parse_ours(command)
    elif kind == "orchestrator":
        _run_ours(command, request, repository)
    elif kind == "trainables":
        _run_alone(command, request.getfixturevalue("shell"))
    elif kind.startswith("("):
        _run_in_bash(command, request.getfixturevalue("shell"))
    else:
        pytest.fail(f"`{command}` is neither run nor in CHECKED_ONLY: teach this test how, or say there why not")


def _run_ours(command: Command, request: pytest.FixtureRequest, repository: Path) -> None:
    shell: Shell = request.getfixturevalue("shell")
    sub = command.key.split()[-1]
    if sub in ("backbones", "schema"):
        _succeeded(shell.here(sub, *command.arguments))
        return
    _succeeded(request.getfixturevalue("described"))
    if sub in ("init", "validate") or (sub == "sweep" and "--extend" not in command.arguments):
        if _is_sweep_of_a_file(command):
            _sweep(request)
        elif sub != "init":
            assert command.arguments or command.text in ci(repository)
            # The default sweep is run by .ci/run; others differ from the one above in their options alone.
            only = ["--plan"] if sub == "sweep" and "--print-config" not in command.arguments else []
            _succeeded(shell.here(sub, *_filled(command, shell), *(o for o in only if o not in command.arguments)))
        return
    _succeeded(request.getfixturevalue("swept"))
    if sub == "sweep":
        assert command.arguments[command.arguments.index("--set") + 1].startswith(MORE.partition("=")[0])
        _succeeded(request.getfixturevalue("extended"))
        more = len(shell.here("show", _newest(shell), "--json").document["runs"])
        assert more > len(shell.here("show", BEFORE, "--json").document["runs"])
    elif sub == "ui":
        _serve(command, shell)
    elif _is_export_to_a_folder(command):
        _succeeded(request.getfixturevalue("exported"))
    elif sub in ("resume", "doctor", "export"):
        _succeeded(shell.run(sub, *_filled(command, shell)))
    else:
        assert _succeeded(shell.here(sub, *_filled(command, shell)))


def _sweep(request: pytest.FixtureRequest) -> None:
    shell, done = request.getfixturevalue("shell"), request.getfixturevalue("swept")
    assert "test_vit@random" in _succeeded(done)
    assert len(shell.here("show", BEFORE, "--json").document["runs"]) == len(TINY) * 4


def _succeeded(done: Done) -> str:
    assert done.code == 0, f"exit code {done.code}\n{done.out}\n{done.err}"
    return done.out


def _filled(command: Command, shell: Shell) -> list[str]:
    """The arguments with what stands for something in its place, and a backbone of this sweep for the README's."""
    sweep = _newest(shell) if shell.storage.is_dir() else ""
    places = {"SWEEP": sweep, "[SWEEP]": sweep, "A": BEFORE, "B": sweep, "N": "1"}
    places |= dict.fromkeys(("SWEEP_FILE", "[SWEEP_FILE]", "FILE"), "flowers.yaml")
    words = [places.get(word, word) for word in command.arguments if word != "..."]
    if "--backbone" in words:
        words[words.index("--backbone") + 1] = TINY[0]
    return words


def _serve(command: Command, shell: Shell) -> None:
    """Until it has said where; then it is ended as with Ctrl-C."""
    port = [] if "--port" in command.arguments else ["--port", str(free_port())]
    process = shell.start("ui", *_filled(command, shell), *port)
    assert process.stdout is not None
    try:
        said = next((line for line in process.stdout if "http://127.0.0.1" in line), None)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert said is not None, err
    assert process.returncode in (0, 130), err


def _run_alone(command: Command, shell: Shell) -> None:
    from trainables.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shell.folder)
        patch.setenv("ORCHESTRATOR_CACHE", shell.env["ORCHESTRATOR_CACHE"])
        assert main([*command.arguments, *FEW_SAMPLES]) == 0


def _run_in_bash(command: Command, shell: Shell) -> None:
    home = shell.folder / "home"
    home.mkdir(exist_ok=True)
    ended = subprocess.run(
        ["bash", "-euc", command.text], env={**shell.env, "HOME": str(home)}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert any(path.is_file() and path.stat().st_size for path in home.rglob("*")), "it is there to leave a file"


def test_nothing_is_excused_that_is_not_there() -> None:
    there = {command.key for command in [*shell_commands(), *spans()]}
    idle = set(CHECKED_ONLY) - there
    assert idle == set(), "the README has these no more: take them off the table"


@pytest.mark.parametrize("block", [b for b in blocks("python") if b.needs_model], ids=str)
def test_python_with_an_exported_model(
    block: Block, shell: Shell, exported: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    _succeeded(exported)
    monkeypatch.chdir(shell.folder)
    exec(compile(block.text, f"README.md:{block.line}", "exec"), {"__name__": "readme"})
