"""What a command imports before it has something to do: help must be instant."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("ray", "torch", "mlflow", "optuna", "transformers", "timm", "torchvision", "scipy", "pyarrow", "numpy")
COMMANDS = ("sweep", "report", "rank", "ls", "show", "init", "backbones", "validate", "schema")

_PROGRAM = """
import json, sys
from orchestrator.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


def imported(*arguments: str) -> tuple[int, set[str], str]:
    """Exit code, top-level modules and stdout of a command in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules), done.stdout


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    for arguments in ([], *([command] for command in COMMANDS)):
        code, modules, text = imported(*arguments, "--help")
        assert code == 0
        assert "Usage: " in text
        assert not modules & set(HEAVY), arguments


def test_help_takes_no_time() -> None:
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "orchestrator", "sweep", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1.5, "0.5 s on an idle machine"


@pytest.mark.parametrize(
    "arguments",
    [
        ("sweep", "--plan"),
        ("sweep", "--plan", "--json"),
        ("sweep", "--print-config"),
        ("validate", "quickstart"),
        ("backbones",),
        ("schema",),
    ],
    ids=" ".join,
)
def test_planning_and_describing_need_neither_torch_nor_ray(arguments: tuple[str, ...]) -> None:
    code, modules, text = imported(*arguments)
    assert code == 0
    assert text
    assert not modules & {"ray", "torch", "mlflow", "optuna", "transformers", "timm", "torchvision"}


def test_reading_a_sweep_needs_neither_torch_nor_ray(stored: Path) -> None:
    for command in ("ls", "show", "rank"):
        code, modules, _ = imported(command, "--storage", str(stored))
        assert code == 0
        assert not modules & {"ray", "torch", "mlflow", "transformers", "timm"}, command


def test_the_process_ends_with_the_command_s_code_and_all_of_its_output() -> None:
    def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)

    done = run("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == "Sweep"
    assert done.stderr == ""
    assert run("validate", "nosuch.yaml").returncode == 2
