"""Lists on stdout: the sweeps of a storage folder, the runs of a sweep."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.display.fitting import Column, fitting_table
from orchestrator.display.scores import metric_name, score_text
from orchestrator.display.words import depth, rate
from orchestrator.overview import Overview
from orchestrator.tracking.naming import short_names

__all__ = ["print_attempts", "print_runs", "print_sweeps"]


def print_sweeps(sweeps: Sequence[Overview], console: Console) -> None:
    """One line per sweep, then what there is to say of those that are not finished."""
    columns = (
        Column(header="sweep", cells=[sweep.sweep for sweep in sweeps], rank=0, justify="left"),
        Column(header="state", cells=[sweep.state for sweep in sweeps], rank=0, justify="left"),
        Column(header="runs", cells=[_runs(sweep) for sweep in sweeps], rank=0),
        Column(header="failed", cells=[_count(sweep.failed) for sweep in sweeps], rank=2),
        Column(header="retried", cells=[_count(sweep.retried) for sweep in sweeps], rank=4),
        Column(header="leader", cells=[_short_leader(sweep.leader) for sweep in sweeps], rank=1, justify="left"),
        Column(header="created (UTC)", cells=[_minute(sweep.created) for sweep in sweeps], rank=3, justify="left"),
    )
    if sweeps:
        console.print(fitting_table(columns, console.width, ascii_only=console.options.ascii_only))
    for sweep in sweeps:
        if sweep.detail:
            console.print(
                f"{sweep.sweep}: {sweep.state}, {sweep.detail}", highlight=False, markup=False, soft_wrap=True
            )


def _runs(sweep: Overview) -> str:
    return _count(sweep.runs) + ("" if sweep.planned is None else f"/{sweep.planned}")


def _short_leader(leader: str) -> str:
    """``vit_tiny (digits)`` of ``timm/vit_tiny@in12k (digits)``, for each task."""
    return re.sub(r"(^|, )[^,@]*/([^/,@ ]+)(@[^, ]+)?", r"\1\2", leader)


def _minute(moment: str) -> str:
    """Of ISO 8601."""
    return moment[:16].replace("T", " ")


def print_runs(sweep: Overview, trials: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One line per run that ended, in the order given, with what `list_runs` has and ``chosen``; then why runs failed
    and what the marks mean."""
    console.print(_state(sweep), highlight=False, markup=False, soft_wrap=not console.is_terminal)
    short = short_names(list(dict.fromkeys(trial["backbone"] for trial in trials)))
    for task in dict.fromkeys(trial["task"] for trial in trials):
        of_task = [trial for trial in trials if trial["task"] == task]
        console.print(_run_table(task, of_task, short, console))
    for line in [*_failures(trials, short), *_legend(trials)]:
        console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def _state(sweep: Overview) -> str:
    parts: list[str] = [sweep.state]
    if sweep.runs is not None:
        parts.append(f"{sweep.runs}{'' if sweep.planned is None else f' of {sweep.planned}'} runs")
    parts += [f"{count} {what}" for count, what in ((sweep.failed, "failed"), (sweep.retried, "tried again")) if count]
    leader = "" if sweep.leader == "-" else f"; first in the ranking: {sweep.leader}"
    detail = f"; {sweep.detail}" if sweep.detail else ""
    return f"{sweep.sweep}: {', '.join(parts)}{leader}{detail}"


def _run_table(task: str, trials: Sequence[Mapping[str, Any]], short: Mapping[str, str], console: Console) -> Table:
    rows: list[Mapping[str, Any] | None] = []
    for trial in trials:
        if rows and rows[-1] is not None and rows[-1]["study"] != trial["study"]:
            rows.append(None)  # an empty line between studies
        rows.append(trial)

    def cells(text: Callable[[Mapping[str, Any]], str]) -> list[str]:
        return ["" if row is None else text(row) for row in rows]

    metric = next((trial["metric"] for trial in trials if trial["metric"]), None)
    columns = [
        Column(header="#", cells=cells(lambda row: f"{'* ' if row['chosen'] else ''}{row['number']}"), rank=0),
        Column(header="backbone", cells=cells(lambda row: short[row["backbone"]]), rank=0, justify="left"),
        Column(header="run", cells=cells(_run), rank=0, justify="left"),
        Column(header="val", cells=cells(lambda row: score_text(row["val_score"], row["metric"])), rank=0),
        Column(header="frozen", cells=cells(depth), rank=0),
        Column(header="lr", cells=cells(lambda row: rate(row["learning_rate"])), rank=1),
        Column(header="head lr", cells=cells(lambda row: rate(row["head_learning_rate"])), rank=4),
        Column(header="epochs", cells=cells(lambda row: f"{row['epochs']}/{row['max_epochs']}"), rank=3),
        Column(header="s", cells=cells(lambda row: f"{row['duration_s']:.1f}"), rank=2),
    ]
    if any(trial["train_frac"] < 1 for trial in trials):
        columns.append(Column(header="samples", cells=cells(lambda row: f"{100 * row['train_frac']:g} %"), rank=5))
    if any(len(trial["attempts"]) > 1 for trial in trials):  # as a rule nothing was tried twice
        columns.append(Column(header="attempts", cells=cells(lambda row: str(max(1, len(row["attempts"])))), rank=1))
    title = f"{task}: runs by validation {metric_name(metric)}, best backbone first"
    return fitting_table(columns, console.width, title=title, ascii_only=console.options.ascii_only)


def _run(trial: Mapping[str, Any]) -> str:
    """``tpe``, ``tpe, stopped``: what it was for, and how it ended where it did not complete."""
    parts = [trial["phase"], *([trial["state"]] if trial["state"] != "completed" else [])]
    return ", ".join([*parts, *(["superseded"] if trial["superseded"] else [])])


def _failures(trials: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Iterator[str]:
    """Each reason once, with the runs that it ended."""
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        if trial["state"] == "failed":
            reasons.setdefault(trial["error"] or "no reason was recorded", []).append(
                f"#{trial['number']} {short[trial['backbone']]}"
            )
    for reason, runs in reasons.items():
        yield f"failed: {', '.join(runs)}: {reason}"


def _legend(trials: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if any(trial["chosen"] for trial in trials):
        yield "* what validation chose for its backbone: confirmations train it again, with fresh seeds"


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
