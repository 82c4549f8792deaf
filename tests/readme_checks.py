"""What of the README cannot be run by a test, why, and what is checked of it instead."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import typer
from readme_blocks import Command, of_line, shell_commands

from orchestrator.cli.app import app

__all__ = ["CHECKED_ONLY", "check", "ci", "parse_ours"]

CHECKED_ONLY = {
    "pip install": "changes this very environment: .ci/run runs these lines in one of its own",
    "pytest": "these are the tests: .ci/run runs that line",
    "benchmarks": "minutes each: tests/benchmarks runs them small",
    "mlflow models": "serves until it is ended: tests/test_end_to_end.py loads such a folder by mlflow.pyfunc",
    "ray up": "starts machines: tests/cluster does it on made-up ones, and on AWS it costs money",
    "ray down": "ends the machines of ray up",
    "ray exec": "needs the machines of ray up; the command that it runs there is checked as one of ours",
    "ray rsync-up": "needs the machines of ray up",
    "ray dashboard": "needs the machines of ray up",
    "ray job": "needs the machines of ray up",
    "ray start": "makes this machine a node of somebody's cluster",
}
"""What is not run, and why; names, files and options are checked."""


def check(command: Command, repository: Path) -> None:
    """A command of `CHECKED_ONLY`, as far as can be without doing it."""
    words = [word for word in command.arguments if word != "..."]
    if command.key.startswith("ray "):
        _parse_ray(command, words)
        for inner in words:
            if "python -m orchestrator" in inner:
                parse_ours(next(c for c in of_line(inner) if c.key.startswith("orchestrator ")))
    elif command.key == "benchmarks":
        assert importlib.util.find_spec(command.words[2]) is not None
    elif command.key == "mlflow models":
        from mlflow.models.cli import commands as models

        models.commands[words[0]].make_context(words[0], words[1:])
    elif command.key == "pytest":
        for path in (word for word in words if "/" in word):
            assert (repository / path).exists(), path
        assert words != ["-n", "2"] or command.text in ci(repository)
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
        assert command.text.replace("'", "") in ci(repository), "what a newcomer types first is what .ci/run runs"


def ci(repository: Path) -> str:
    """What ``.ci/run`` runs, without quotes and without its wish for quiet."""
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


def parse_ours(command: Command) -> None:
    """A command of ours, whose options and arguments there are."""
    group: Any = typer.main.get_command(app)
    sub = command.key.split()[-1]
    group.commands[sub].make_context(sub, list(command.arguments))
