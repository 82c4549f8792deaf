"""The whole traceback of a run that failed, which its last worker left in the sweep's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import redact
from orchestrator.folder import SweepFolder
from orchestrator.tracking.store import Store, StoredRun

__all__ = ["log_traceback"]

_TAG: Final = "orchestrator.traceback"
_NAME: Final = "error.txt"


def log_traceback(store: Store, run: StoredRun, folder: Path | None, trial: Mapping[str, Any]) -> None:
    """Put it on the run, once; nothing where the worker left none, as of one that diverged or was killed.

    Args:
        folder: of the sweep; None where nobody said.
    """
    if folder is None or run.tags.get(_TAG) == _NAME:
        return
    sweep = SweepFolder(folder)
    index = sweep.study_indices().get(trial["study"])
    if index is None:
        return
    test_file = sweep.test_file(index, trial["number"], trial.get("num_attempts") or 1)
    for suffix in (".error.txt", ".hung.txt"):
        file = test_file.with_suffix(suffix)
        text = file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""
        if text:
            store.log_text(run, redact(text) + "\n", _NAME)
            store.log(run, tags={_TAG: _NAME})
            return
