"""``init``: from somebody's data to a sweep file."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Quiet, Verbose, print_json, stderr

if TYPE_CHECKING:
    from orchestrator.init.first_sweep import FirstSweep
    from trainables.data.survey import Survey

__all__ = ["init"]

_EVERY: int = 500
"""Samples between two words on progress."""


def init(
    data: Annotated[
        str,
        typer.Option(
            "--data", help="A folder, a table (CSV, TSV, JSONL, Parquet), torchvision/NAME, hf/NAME, or digits."
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: NAME.yaml.")] = None,
    backbone: Annotated[
        list[str] | None, typer.Option("--backbone", help="What to rank, repeatable; default: the usual ones.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="classification, multilabel or regression; default: by the labels.")
    ] = None,
    label_column: Annotated[
        list[str] | None, typer.Option("--label-column", help="Of a table, repeatable; default: found out.")
    ] = None,
    input_column: Annotated[
        list[str] | None, typer.Option("--input-column", help="Of a table, repeatable; default: found out.")
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option("--group-column", help="Of a table: equal values stay in one split; default: found out."),
    ] = None,
    test_data: Annotated[str | None, typer.Option("--test-data", help="Test samples kept apart from DATA.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Look at your data and write a sweep file that runs as it is."""
    from orchestrator.errors import EnvironmentUnusable, one_line
    from orchestrator.folder import write_whole
    from orchestrator.hardware import this_machine
    from orchestrator.init.first_sweep import cost_text, first_sweep
    from orchestrator.init.offers import offers
    from orchestrator.init.survey_report import is_unbalanced, num_left, report_lines, sized_task
    from trainables.data.survey import suggest_task, survey, try_split

    if output is not None:
        _refuse_existing(output, force)
    asked = tuple(backbone or ())
    offers("image", asked)  # a name that nobody knows is told before anything is read
    fields = {"kind": kind, "label_columns": label_column, "input_columns": input_column, "group_column": group_column}
    given = {key: value for key, value in {**fields, "test_data": _home(test_data)}.items() if value}
    console = stderr()

    def progress(number: int, total: int) -> None:
        if not quiet and number % _EVERY == 0:
            console.print(f"read {number} of {total} samples", highlight=False)

    found = survey(_home(data) or data, progress=progress, **given)
    task = sized_task(suggest_task(found), found, resize=not asked)
    parts = try_split(found, task)  # a file that could not be run is not written
    task = replace(task, num_val=task.num_val or len(parts.val), num_test=task.num_test or len(parts.test))
    file = output or Path(f"{task.name}.yaml")
    _refuse_existing(file, force)
    lines = report_lines(found, task)
    hardware = this_machine()
    made = first_sweep(
        task,
        offers(found.modality, asked),
        num_left=num_left(found, task),
        found=lines,
        file=str(file),
        hardware=hardware,
        resize=not asked,
        is_unbalanced=is_unbalanced(found),
        comments=_said_of_columns(found),
    )
    try_split(found, made.config.tasks[0])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, made.text)
    except OSError as error:
        raise EnvironmentUnusable(f"{file} must be a file that can be written: {error.strerror}") from error
    if as_json:
        print_json(_document(file, made, lines))
        return 0
    for line in lines:
        print(one_line(line))
    for offer in made.left_out:
        print(f"left out    {offer.name}: {offer.why_not}")
    count = len(made.plan.studies)
    cost = f"{count} backbone{'s' if count > 1 else ''}, {made.plan.runs} runs, {cost_text(made.plan, hardware)}"
    print(f"written     {file}: {cost}")
    for offer in made.missing:
        print(f"missing     {offer.name}: {offer.why_not}")
    command = "doctor" if made.missing else "sweep"
    print(f"next        python -m orchestrator {command} {shlex.quote(str(file))}")
    return 0


def _home(place: str | None) -> str | None:
    """With ``~`` as the home folder; else as it was typed, so that it is also what the file says."""
    return None if place is None else os.path.expanduser(place)


def _said_of_columns(found: Survey) -> dict[str, str]:
    """What only the survey knows of the keys that it filled in."""
    said = {}
    if found.other_labels:
        said["label_columns"] = f"or {', '.join(found.other_labels)}"
    if found.num_groups is not None:
        said["group_column"] = "rows with the same value stay in one split"
    return said


def _refuse_existing(file: Path, force: bool) -> None:
    from orchestrator.errors import UsageError

    if file.exists() and not force:
        raise UsageError(f"{file} exists; name another with --output, or write over it with --force")


def _document(file: Path, made: FirstSweep, lines: list[str]) -> dict[str, Any]:
    return {
        "file": str(file),
        "found": lines,
        "task": asdict(made.config.tasks[0]),
        "backbones": list(made.config.backbones),
        "left_out": [{"backbone": offer.name, "why": offer.why_not} for offer in made.left_out],
        "missing": [{"backbone": offer.name, "why": offer.why_not} for offer in made.missing],
        "runs": made.plan.runs,
        "compute_s": made.plan.compute_s,
    }
