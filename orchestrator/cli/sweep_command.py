"""``sweep``: the main job."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Quiet, Verbose, print_json, stderr, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.conduct import Outcome
    from orchestrator.config import SweepConfig
    from orchestrator.plan import Plan

__all__ = ["sweep"]


def sweep(
    file: Annotated[
        str, typer.Argument(help="Sweep file, or the name of a shipped one.", show_default=True)
    ] = "quickstart",
    plan_only: Annotated[bool, typer.Option("--plan", help="Print studies, trials and cost, and stop.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the complete sweep file, and stop.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. --set budget.trials=12."),
    ] = None,
    allocate: Annotated[
        str | None,
        typer.Option(help="Same as --set budget.allocation=...: 'equal' ranks all backbones, 'race' finds the best."),
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="Same as --set tracking_uri=...")] = None,
    storage: Annotated[str | None, typer.Option(help="Same as --set storage=...")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as --set seed=...")] = None,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS", help="Ray cluster to run on ('auto' on a head node); default: this machine."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Fine-tune every backbone under many freezing depths and learning rates, and rank them."""
    from orchestrator.config import load_sweep, resolved_yaml
    from orchestrator.plan import plan, plan_to_dict
    from orchestrator.plan_table import render_plan

    shortcuts = {"budget.allocation": allocate, "tracking_uri": tracking_uri, "storage": storage, "seed": seed}
    config = load_sweep(file, [*(overrides or []), *_shortcuts(shortcuts)])
    if print_config:
        print(resolved_yaml(config), end="")
        return 0
    planned = plan(config)
    if plan_only:
        from trainables.data.cache import cache_limit

        limit = cache_limit()
        if as_json:
            print_json({**plan_to_dict(planned), "cache_limit_bytes": limit})
        else:
            print(render_plan(planned, limit))
        return 0
    return _run(config, planned, address, as_json=as_json, quiet=quiet)


def _shortcuts(given: Mapping[str, str | int | None]) -> list[str]:
    # Quoted: what follows `=` is read as YAML, in which a folder may look like a number or a comment.
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def _run(config: SweepConfig, planned: Plan, address: str | None, *, as_json: bool, quiet: bool) -> int:
    console = stderr()
    if not quiet:
        text = _announcement(config, planned)
        console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    from orchestrator.conduct import conduct, tracking_uri
    from orchestrator.display import make_board
    from orchestrator.results import exit_code
    from orchestrator.tracking import check

    check(tracking_uri(config))
    board = make_board(planned, console, quiet=quiet)
    with board.shown():
        outcome = conduct(config, planned, address=address, listeners=[board], say=board.say)
    if as_json:
        print_json(_document(outcome))
    else:
        _print(outcome, stdout(), config)
    if outcome.interrupted:
        return 130
    return exit_code(outcome.folder.trials.read())


def _announcement(config: SweepConfig, planned: Plan) -> str:
    """What is about to happen, before anything slow is imported."""
    study = planned.studies[0]
    fewer = " and ".join(f"{100 * frac:g} %" for frac in study.train_fracs)
    again = f", and on {fewer} of the samples" if fewer else ""
    if planned.allocation == "race":
        return (
            f"{config.name}: a race of {len(config.backbones)} backbones on "
            f"{', '.join(task.name for task in config.tasks)}; each gets {study.random_trials} trials of "
            f"{study.max_epochs} epochs, then more while it may be the best, and what is left is confirmed with "
            f"{study.confirmations} fresh seeds{again}: {planned.runs} runs at most"
        )
    return (
        f"{config.name}: {len(config.backbones)} backbones on "
        f"{', '.join(task.name for task in config.tasks)}; each gets {study.trials} trials of up to "
        f"{study.max_epochs} epochs, and its best configuration is confirmed with {study.confirmations} "
        f"fresh seeds{again}: {planned.runs} runs in all"
    )


def _document(outcome: Outcome) -> dict[str, Any]:
    from orchestrator.results import ranking_document

    return {
        **ranking_document(outcome.folder, outcome.ranking),
        "tracking": {
            "complete": outcome.tracking.complete,
            "error": outcome.tracking.error,
            "links": {task: link.url for task, link in outcome.tracking.links.items()},
        },
        "interrupted": outcome.interrupted,
    }


def _print(outcome: Outcome, console: Console, config: SweepConfig) -> None:
    from orchestrator.display import print_ranking, print_screen
    from orchestrator.screen_report import foretold

    print_ranking(outcome.ranking, console)
    print_screen(foretold(outcome.folder.screen.read(), outcome.ranking.table), console)
    sweep_id = outcome.folder.sweep_id
    where = "" if config.storage == "sweeps" else f" --storage {config.storage}"
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
    lines.append(f"next      python -m orchestrator show {sweep_id}{where}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
