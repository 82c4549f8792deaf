"""What lies on disk of one run, by what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.errors import redact
from orchestrator.evaluated import EvaluationFiles
from orchestrator.folder import SweepFolder

__all__ = ["run_files", "traceback_tail"]

_MOST_LINES: Final = 20
_MOST_BYTES: Final = 1 << 16


def run_files(folder: SweepFolder, index: int, number: int, num_attempts: int) -> dict[str, Path]:
    """Absolute paths that exist, by what is there; what several attempts left has the attempt in its name.

    Args:
        index: of the study in the plan.
        num_attempts: how often the run was handed out, at least 1.
    """
    return {what: path for what, path in _places(folder, index, number, num_attempts) if path.exists()}


def _places(folder: SweepFolder, index: int, number: int, num_attempts: int) -> Iterator[tuple[str, Path]]:
    own = folder.test_file(index, number)
    yield "checkpoints", own.with_suffix("")
    for attempt in range(1, num_attempts + 1):
        file = folder.test_file(index, number, attempt)
        files, again = EvaluationFiles.of(file), "" if num_attempts == 1 else f" of attempt {attempt}"
        yield f"traceback{again}", file.with_suffix(".error.txt")
        yield f"stacks when it hung{again}", file.with_suffix(".hung.txt")
        yield f"test measurement{again}", file
        yield f"evaluation{again}", files.summary
        yield f"pictures{again}", files.pictures
    yield "kept model", folder.model_folder(index, number)
    yield "Ray's folder", folder.path / "tune" / own.stem
    yield "Ray's account of its end", folder.path / "tune" / own.stem / "error.txt"


def traceback_tail(files: dict[str, Path]) -> tuple[Path, str] | None:
    """The file that says most of why a run failed, and its last lines without secrets; None where there is none.

    Args:
        files: as `run_files` found them.
    """
    for what in ("stacks when it hung", "traceback", "Ray's account"):
        found = [path for name, path in files.items() if name.startswith(what)]
        for path in reversed(found):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _MOST_BYTES))
                text = file.read().decode("utf-8", "replace").rstrip()
            if text:
                return path, redact("\n".join(text.splitlines()[-_MOST_LINES:]))
    return None
