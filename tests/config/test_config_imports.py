"""Configuration and planning work on a machine where nothing heavy can be imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "pyarrow", "transformers", "timm"}

SCRIPT = """
import sys
from {module} import {name}
print(*sorted(set(sys.modules) & {heavy}))
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("search_spaces", "load_space as heavy; heavy('default')"),
        ("orchestrator.config", "load_sweep as heavy; heavy('quickstart')"),
        ("orchestrator.planning.table", "render_plan"),
    ],
)
def test_nothing_heavy_is_imported(module: str, name: str) -> None:
    script = SCRIPT.format(module=module, name=name, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_importing_is_fast() -> None:
    # CPU time, as a busy machine makes wall time anyone's guess; the best of three, as it has noise too.
    script = "import time; import orchestrator.config; print(time.process_time())"
    command = [sys.executable, "-c", script]
    times = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3)]
    assert min(times) < 0.3
