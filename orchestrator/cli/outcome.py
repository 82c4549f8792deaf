"""What a sweep came to, told on stdout, and the exit code that says it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.cli.options import print_json, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.cli.telling import Teller
    from orchestrator.conduct import Outcome
    from orchestrator.folder import SweepFolder

__all__ = ["tell_outcome"]


def tell_outcome(outcome: Outcome, teller: Teller, *, as_json: bool) -> int:
    """Print it. Returns the exit code: of a signal, else of how the runs ended."""
    from orchestrator.results import exit_code

    document = _document(outcome)
    if as_json:
        print_json(document)
    else:
        _print(outcome, stdout())
    teller.event(
        "ranked",
        sweep=document["sweep"],
        ranking=document["ranking"],
        sentences=[sentence for verdict in outcome.ranking.verdicts for sentence in verdict.sentences],
        report=str(report) if (report := outcome.folder.path / "report.html").exists() else None,
        links=document["tracking"]["links"],
    )
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
    from orchestrator.display import print_ranking, print_screen
    from orchestrator.screen_report import foretold

    print_ranking(outcome.ranking, console)
    print_screen(foretold(outcome.folder.screen.read(), outcome.ranking.table), console)
    for label, text in _last_lines(outcome):
        console.print(f"{label:<10}{text}", highlight=False, markup=False, soft_wrap=True)


def _last_lines(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Where to look and what to type: the report, the comparison, one's own data; and what went wrong, if anything."""
    from orchestrator.conduct import resume_command
    from orchestrator.stores import shown_path

    folder = outcome.folder
    storage = folder.path.parent
    where = "" if storage == Path("sweeps").resolve() else f" --storage {shlex.quote(shown_path(storage))}"
    failed = folder.trials.read()["state"].to_pylist().count("failed")
    show = f"python -m orchestrator show {folder.sweep_id}{where}"
    if failed:
        yield "failed", f"{failed} of {len(folder.trials.read())} runs: {show}"
    if not outcome.tracking.complete:
        yield "MLflow", f"incomplete; later: python -m orchestrator report {folder.sweep_id}{where}"
    if outcome.interrupted is not None:
        yield "go on", resume_command(folder)
    report = folder.path / "report.html"
    yield "report", shown_path(report if report.exists() else folder.path / "ranking.csv")
    for link in _links(outcome, f"python -m orchestrator ui {folder.sweep_id}{where}"):
        yield "compare", link
    if _is_example(folder):
        yield "your data", "python -m orchestrator init --data ./your_folder"
    elif not failed:
        yield "next", show


def _links(outcome: Outcome, ui: str) -> list[str]:
    """The server's pages where there is a server; else the command that starts one."""
    links = outcome.tracking.links.values()
    if links and all(link.command is None for link in links):
        return [link.url for link in links]
    return [ui] if links else []


def _is_example(folder: SweepFolder) -> bool:
    """Whether all its data came with the package: then one's own come next."""
    tasks = yaml.safe_load(folder.config_file.read_text(encoding="utf-8"))["tasks"]
    return all(task.get("data", "digits") == "digits" for task in tasks)
