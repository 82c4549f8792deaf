"""``show``: the runs of a sweep, or one of them in full."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Storage, Verbose, print_json, stdout

if TYPE_CHECKING:
    from orchestrator.folder import SweepFolder

__all__ = ["show"]


def show(
    sweep: Annotated[str | None, typer.Argument(metavar="SWEEP", help="Id or folder; default: the newest.")] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Only the runs of this number, in full.")] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Only of backbones whose name contains this.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only of this task.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only runs that failed.")] = False,
    storage: Storage = Path("sweeps"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Show every run of a sweep, or everything about one: its parameters, curves, error, files, its link and the
    command that does it again."""
    from orchestrator.folder import find_sweep

    folder = find_sweep(sweep, storage)
    _require_known(folder, backbone, task)
    if trial is None:
        return _list(folder, backbone, task, failed=failed, as_json=as_json)
    return _pages(folder, trial, backbone, task, failed=failed, as_json=as_json)


def _list(folder: SweepFolder, backbone: str | None, task: str | None, *, failed: bool, as_json: bool) -> int:
    from orchestrator.display import print_attempts, print_runs
    from orchestrator.overview import command_on, overview, ranked_places
    from orchestrator.runs.listing import chosen_runs, in_order, list_runs

    ended, begun = list_runs(folder, backbone=backbone, task=task)
    chosen = chosen_runs(folder.trials.read())
    runs = in_order(ended, chosen, ranked_places(folder))
    if failed:
        runs, begun = [run for run in runs if run["state"] == "failed"], []
    for run in runs:
        run["chosen"] = chosen.get(run["study"]) == run["number"]
    state = overview(folder)
    if as_json:
        print_json({"sweep": folder.sweep_id, "overview": state.document(), "runs": runs, "unfinished": begun})
        return 0
    console = stdout()
    print_runs(state, runs, console)
    print_attempts(begun, console)
    one = next(iter([*runs, *begun]), None)
    if one is None:
        print("no run failed" if failed else "no run of these was begun")
        return 0
    of_task, _, name = one["study"].partition(":")
    several = f" --task {of_task}" if len(folder.read_facts().get("tasks", ())) > 1 else ""
    example = f"--trial {one['number']} --backbone {shlex.quote(name)}{several}"
    print(f"one in full: {command_on(folder, 'show')} {example}")
    return 0


def _pages(
    folder: SweepFolder, trial: int, backbone: str | None, task: str | None, *, failed: bool, as_json: bool
) -> int:
    from orchestrator.display import print_run_page
    from orchestrator.errors import UsageError
    from orchestrator.runs.page import run_pages

    pages = run_pages(folder, trial, backbone=backbone, task=task)
    if failed:
        pages = [page for page in pages if page.run["state"] == "failed"]
    if not pages:
        numbers = folder.trials.read()["number"].to_pylist()
        there = (
            f"it has {len(numbers)} runs, numbered up to {max(numbers)}" if numbers else "none of its runs has ended"
        )
        raise UsageError(
            f"{folder.sweep_id} has no {'failed ' if failed else ''}run {trial}{_of(backbone, task)}; {there}"
        )
    if as_json:
        print_json(_document(folder, [page.document() for page in pages]))
        return 0
    console = stdout()
    for page in pages:
        print_run_page(page, console)
    if len(pages) > 1:
        print(f"{len(pages)} studies have a run {trial}: --backbone and --task show that of one")
    return 0


def _document(folder: SweepFolder, pages: list[dict[str, Any]]) -> dict[str, Any]:
    begun = ("running", "interrupted")
    return {
        "sweep": folder.sweep_id,
        "runs": [page for page in pages if page["state"] not in begun],
        "unfinished": [page for page in pages if page["state"] in begun],
    }


def _of(backbone: str | None, task: str | None) -> str:
    return "".join(f" of {word}" for word in (backbone, task) if word)


def _require_known(folder: SweepFolder, backbone: str | None, task: str | None) -> None:
    """
    Raises:
        UsageError: the sweep has no such backbone or task.
    """
    from orchestrator.errors import UsageError
    from trainables.errors import did_you_mean

    facts = folder.read_facts()  # what it does not say cannot be compared with
    backbones, tasks = facts.get("backbones", []), facts.get("tasks", [])
    if backbone is not None and backbones and not any(backbone in name for name in backbones):
        short = [part for name in backbones for part in (name, name.rpartition("/")[2].partition("@")[0])]
        raise UsageError(
            f"--backbone must be part of the name of one that {folder.sweep_id} has ({', '.join(backbones)}), "
            f"got {backbone!r}" + did_you_mean(backbone, short)
        )
    if task is not None and tasks and task not in tasks:
        raise UsageError(
            f"--task must be one that {folder.sweep_id} has ({', '.join(tasks)}), got {task!r}"
            + did_you_mean(task, tasks)
        )
