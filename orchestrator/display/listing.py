"""Lists on stdout: the sweeps of a storage folder, the runs of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.display.board import describe
from orchestrator.display.table import points
from orchestrator.overview import Overview

__all__ = ["print_attempts", "print_runs", "print_sweeps"]


def print_sweeps(sweeps: Sequence[Overview], console: Console) -> None:
    """One line per sweep, then what there is to say of those that are not finished."""
    table = Table(box=None, padding=(0, 1))
    for column in ("sweep", "state", "runs", "failed", "retried", "leader", "created"):
        table.add_column(column, overflow="fold")
    for sweep in sweeps:
        runs = _count(sweep.runs) + ("" if sweep.planned is None else f"/{sweep.planned}")
        cells = (sweep.sweep, sweep.state, runs, _count(sweep.failed), _count(sweep.retried), sweep.leader)
        table.add_row(*(Text(cell) for cell in (*cells, sweep.created)))
    console.print(table)
    for sweep in sweeps:
        if sweep.detail:
            console.print(
                f"{sweep.sweep}: {sweep.state}, {sweep.detail}", highlight=False, markup=False, soft_wrap=True
            )


def print_runs(trials: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One line per run that ended, as `list_runs` has them."""
    table = Table(box=None, padding=(0, 1))
    columns = ["#", "backbone", "phase", "state", "val", "configuration", "epochs", "s"]
    is_retried = any(len(trial["attempts"]) > 1 for trial in trials)  # as a rule nothing was tried twice
    for column in [*columns, "attempts"] if is_retried else columns:
        table.add_column(column, justify="left" if column in ("backbone", "phase", "state") else "right")
    for trial in trials:
        cells = [
            str(trial["number"]),
            Text(trial["backbone"]),
            f"{trial['phase']}, superseded" if trial["superseded"] else trial["phase"],
            trial["state"],
            points(trial["val_score"]),
            describe(trial),
            f"{trial['epochs']}/{trial['max_epochs']}",
            f"{trial['duration_s']:.1f}",
        ]
        table.add_row(*cells, *([str(max(1, len(trial["attempts"])))] if is_retried else []))
    console.print(table)


def print_attempts(begun: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One line per run that has not ended, and one for each time that it was handed out again."""
    for run in begun:
        last = run["attempts"][-1]
        text = f"#{run['number']} {run['study']}: begun, not ended; {run['epochs']} epochs, attempt {last['attempt']}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        for attempt in run["attempts"]:
            if attempt["cause"] is not None:
                why = f"  attempt {attempt['attempt']} after: {attempt['cause']}"
                console.print(why, highlight=False, markup=False, soft_wrap=True)


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
