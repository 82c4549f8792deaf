"""Every command of the README is executed.

One small sweep serves all commands that look at results. What is appended to a command to make it short is an option
that the README documents: `--set` of a sweep, sizes of a single run. What cannot run here is in `CHECKED_ONLY`, with
the reason; a command that is in neither place fails.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from mlflow_server import free_port
from PIL import Image
from readme_blocks import Command, of_line, scores, shell_commands, spans
from shell import Done, Shell

from orchestrator.cli.app import app
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
    "resources.gpus_per_trial": 0,
}
"""Of the sweep that is run for real."""

BEFORE = "elsewhere/before"
MORE = "budget.trials=3"
"""Trials that ``sweep --extend`` grants it."""

FEW_SAMPLES = ["--num-train", "40", "--num-val", "20", "--num-test", "20", "--max-epochs", "1", "--num-threads", "1"]
"""Of a single run."""

SLOW = ("orchestrator report", "orchestrator resume", "orchestrator doctor", "orchestrator ui", "orchestrator export")
"""Where a block of the README runs one of these, its options are all that is checked of it in running text."""

CHECKED_ONLY = {
    "pip install": "changes this very environment: .ci/run runs these lines in one of its own",
    "pytest": "these are the tests: .ci/run runs that line",
    "benchmarks": "minutes each: tests/benchmarks runs them small",
    "ray up": "starts machines: tests/cluster does it on made-up ones, and on AWS it costs money",
    "ray down": "ends the machines of ray up",
    "ray exec": "needs the machines of ray up; the command that it runs there is checked as one of ours",
    "ray rsync-up": "needs the machines of ray up",
    "ray dashboard": "needs the machines of ray up",
    "ray job": "needs the machines of ray up",
    "ray start": "makes this machine a node of somebody's cluster",
}
"""What is not run, and why; names, files and options are checked."""


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


def _newest(shell: Shell) -> str:
    return next(found.path.name for found in list_sweeps(shell.storage))


def _is_sweep_of_a_file(command: Command) -> bool:
    return command.key == "orchestrator sweep" and re.fullmatch(r"\S+\.yaml", " ".join(command.arguments)) is not None


@pytest.mark.parametrize("command", list(dict.fromkeys([*shell_commands(), *spans()])), ids=str)
def test_command(command: Command, request: pytest.FixtureRequest, repository: Path) -> None:
    kind = command.key.split()[0]
    shown = shell_commands()
    if command.key in CHECKED_ONLY:
        _check(command, repository)
    elif command.key in SLOW and command not in shown and command.key in {other.key for other in shown}:
        _parse_ours(command)
    elif kind == "orchestrator":
        _run_ours(command, request)
    elif kind == "trainables":
        _run_alone(command, request.getfixturevalue("shell"))
    elif kind.startswith("("):
        _run_in_bash(command, request.getfixturevalue("shell"))
    else:
        pytest.fail(f"`{command}` is neither run nor in CHECKED_ONLY: teach this test how, or say there why not")


def _run_ours(command: Command, request: pytest.FixtureRequest) -> None:
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
            # The default sweep is run by .ci/run; others differ from the one above in their options alone.
            only = ["--plan"] if sub == "sweep" and "--print-config" not in command.arguments else []
            _succeeded(shell.here(sub, *_filled(command, shell), *(o for o in only if o not in command.arguments)))
        return
    _succeeded(request.getfixturevalue("swept"))
    if sub == "sweep":
        assert command.arguments[command.arguments.index("--set") + 1].startswith(MORE.partition("=")[0])
        done = request.getfixturevalue("extended")
        assert "3 trials" in _succeeded(done) or done.out
    elif sub == "ui":
        _serve(command, shell)
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


def _check(command: Command, repository: Path) -> None:
    """As far as can be without doing it."""
    words = [word for word in command.arguments if word != "..."]
    if command.key.startswith("ray "):
        _parse_ray(command, words)
        for inner in words:
            if "python -m orchestrator" in inner:
                _parse_ours(next(c for c in of_line(inner) if c.key.startswith("orchestrator ")))
    elif command.key == "benchmarks":
        assert importlib.util.find_spec(command.words[2]) is not None
    elif command.key == "pytest":
        for path in (word for word in words if "/" in word):
            assert (repository / path).exists(), path
        assert words != ["-n", "2"] or command.text in _ci(repository)
    else:
        _check_install(command, words, repository)


def _check_install(command: Command, words: list[str], repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        for extra in filter(None, ",".join(re.findall(r"\[([\w,]+)\]", word)).split(",")):
            assert extra in project["optional-dependencies"], extra
        if word.endswith(".txt"):
            assert (repository / word).is_file(), word
    if command in shell_commands() or "==" in command.text:
        assert command.text.replace("'", "") in _ci(repository), "what a newcomer types first is what .ci/run runs"


def _ci(repository: Path) -> str:
    return (repository / ".ci" / "run").read_text(encoding="utf-8").replace(" -q", "").replace("'", "")


def _parse_ray(command: Command, words: list[str]) -> None:
    from ray.scripts.scripts import cli

    name = command.words[1]
    known = cli.commands[name]
    if name == "job":
        known, name = known.commands[words[0]], words[0]
        words = words[1:]
    if words:
        known.make_context(name, [word.replace("HEAD", "10.0.0.1") for word in words])


def _parse_ours(command: Command) -> None:
    group: Any = typer.main.get_command(app)
    sub = command.key.split()[-1]
    group.commands[sub].make_context(sub, list(command.arguments))


def test_nothing_is_excused_that_is_not_there() -> None:
    there = {command.key for command in [*shell_commands(), *spans()]}
    idle = set(CHECKED_ONLY) - there
    assert idle == set(), "the README has these no more: take them off the table"
