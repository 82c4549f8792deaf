"""What a sweep came to, told on stdout, and the exit code that says it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.options import print_json, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.conduct import Outcome

__all__ = ["tell_outcome"]


def tell_outcome(outcome: Outcome, *, as_json: bool) -> int:
    """Print it. Returns the exit code: of a signal, else of how the runs ended."""
    from orchestrator.results import exit_code

    if as_json:
        print_json(_document(outcome))
    else:
        _print(outcome, stdout())
    if outcome.interrupted is not None:
        return outcome.interrupted.exit_code
    return exit_code(outcome.folder.trials.read())


def _document(outcome: Outcome) -> dict[str, Any]:
    from orchestrator.results import ranking_document

    return {
        **ranking_document(outcome.folder, outcome.ranking),
        "tracking": {
            "complete": outcome.tracking.complete,
            "error": outcome.tracking.error,
            "links": {task: link.url for task, link in outcome.tracking.links.items()},
        },
        "interrupted": outcome.interrupted is not None,
    }


def _print(outcome: Outcome, console: Console) -> None:
    from orchestrator.conduct import resume_command
    from orchestrator.display import print_ranking, print_screen
    from orchestrator.screen_report import foretold

    print_ranking(outcome.ranking, console)
    print_screen(foretold(outcome.folder.screen.read(), outcome.ranking.table), console)
    sweep_id = outcome.folder.sweep_id
    storage = outcome.folder.path.parent
    where = "" if storage == Path("sweeps").resolve() else f" --storage {os.path.relpath(storage)}"
    relative = os.path.relpath(outcome.folder.path)
    shown = relative if len(relative) < len(str(outcome.folder.path)) else str(outcome.folder.path)
    lines = [f"results   {shown} (ranking.csv, ranking.json, ranking.parquet)"]
    if (outcome.folder.path / "report.html").exists():
        lines.insert(0, f"report    {shown}/report.html")
    for link in outcome.tracking.links.values():
        first, *rest = [*([link.command] if link.command else []), link.url]
        lines += [f"compare   {first}", *(f"          {line}" for line in rest)]
    if not outcome.tracking.complete:
        lines.append(f"MLflow    incomplete; later: python -m orchestrator report {sweep_id}{where}")
    if outcome.interrupted is not None:
        lines.append(f"go on     {resume_command(outcome.folder)}")
    lines.append(f"next      python -m orchestrator show {sweep_id}{where}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
