"""Optuna's own dashboard of a sweep's studies, on a copy of the ledger: nothing that looks may write to it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from orchestrator.errors import EnvironmentUnusable, UsageError
from orchestrator.folder import SweepFolder
from orchestrator.tracking.server import LOOPBACK, Command, Served, serving

__all__ = ["dashboard", "require_dashboard"]

_STORAGE_CLASS = "JournalFileStorage"


def require_dashboard(folder: SweepFolder) -> None:
    """
    Raises:
        EnvironmentUnusable: optuna-dashboard is not installed.
        UsageError: the sweep has no ledger to show.
    """
    if find_spec("optuna_dashboard") is None:
        raise EnvironmentUnusable(
            "--optuna needs a package that is not installed: pip install 'orchestrator[dashboard]'"
        )
    if not folder.ledger_file.exists():
        raise UsageError(f"--optuna shows a sweep's ledger, and {folder.sweep_id} has none: it began no trial")


@contextlib.contextmanager
def dashboard(folder: SweepFolder, port: int) -> Iterator[Served]:
    """Serve the studies as they are now. Raises as `serving`."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-ledger-") as scratch:
        copy = Path(scratch) / folder.ledger_file.name
        copy.write_bytes(whole_lines(folder.ledger_file))
        command = Command(
            arguments=(
                *(sys.executable, "-m", "optuna_dashboard._cli", "--storage-class", _STORAGE_CLASS),
                *("--host", LOOPBACK, "--port", str(port), "--server", "wsgiref", "--quiet", str(copy)),
            )
        )
        with serving(command, port, health="/dashboard", name="optuna-dashboard") as served:
            yield served


def whole_lines(file: Path) -> bytes:
    """What a journal held a moment ago; half a line, which its driver is still writing, is left out."""
    content = file.read_bytes()
    return content[: content.rfind(b"\n") + 1]
