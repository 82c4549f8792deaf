"""``sweep``: the main job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import Address, AsJson, Insecure, Quiet, Verbose, print_json, stderr
from orchestrator.cli.outcome import tell_outcome

if TYPE_CHECKING:
    from orchestrator.config import SweepConfig
    from orchestrator.plan import Plan

__all__ = ["sweep"]


def sweep(
    file: Annotated[
        str | None, typer.Argument(help="Sweep file, or the name of a shipped one.", show_default="quickstart")
    ] = None,
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
    extend: Annotated[
        str | None,
        typer.Option(
            metavar="SWEEP", help="Grant this sweep more budget and go on with it, e.g. with --set budget.trials=16."
        ),
    ] = None,
    address: Address = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Fine-tune every backbone under many freezing depths and learning rates, and rank them."""
    from orchestrator.config import load_sweep, resolved_yaml
    from orchestrator.plan import plan, plan_to_dict
    from orchestrator.plan_table import render_plan
    from orchestrator.requirements import advice

    if extend is not None:
        return _extend(
            extend,
            refused={"FILE": file, "--plan": plan_only, "--print-config": print_config, "--allocate": allocate}
            | {"--seed": seed},
            overrides=overrides or (),
            storage=storage,
            tracking_uri=tracking_uri,
            address=address,
            insecure=insecure,
            as_json=as_json,
            quiet=quiet,
        )
    shortcuts = {"budget.allocation": allocate, "tracking_uri": tracking_uri, "storage": storage, "seed": seed}
    config = load_sweep(file or "quickstart", [*(overrides or []), *_shortcuts(shortcuts)])
    if print_config:
        print(resolved_yaml(config), end="")
        return 0
    planned = plan(config)
    if not quiet:
        for sentence in advice(config):
            stderr().print(f"note: {sentence}", highlight=False, markup=False, soft_wrap=True)
    if plan_only:
        from trainables.data.cache import cache_limit

        limit = cache_limit()
        if as_json:
            print_json({**plan_to_dict(planned), "cache_limit_bytes": limit})
        else:
            print(render_plan(planned, limit))
        return 0
    return _run(config, planned, address, insecure=insecure, as_json=as_json, quiet=quiet)


def _extend(
    sweep: str, *, refused: Mapping[str, object], overrides: Sequence[str], storage: str | None, **options: Any
) -> int:
    """``sweep --extend``: what a sweep was begun with is in its folder, and only its budget may be set."""
    from orchestrator.cli.resume_command import go_on_with
    from orchestrator.errors import UsageError

    if given := [name for name, value in refused.items() if value]:
        raise UsageError(f"--extend goes on with a sweep as it was begun, and takes no {given[0]} beside it")
    return go_on_with(sweep, Path(storage or "sweeps"), extension=overrides, **options)


def _shortcuts(given: Mapping[str, str | int | None]) -> list[str]:
    # Quoted: what follows `=` is read as YAML, in which a folder may look like a number or a comment.
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def _run(config: SweepConfig, planned: Plan, address: str | None, *, insecure: bool, as_json: bool, quiet: bool) -> int:
    console = stderr()
    if not quiet:
        text = _announcement(config, planned)
        console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    from orchestrator.requirements import require_versions

    require_versions()  # before any other package is loaded
    from orchestrator.conduct import conduct
    from orchestrator.display import make_board
    from orchestrator.stores import tracking_uri
    from orchestrator.tracking import check

    for unsafe in check(tracking_uri(config), [task.name for task in config.tasks]).warnings:
        console.print(f"warning: {unsafe}", highlight=False, markup=False, soft_wrap=True)
    board = make_board(planned, console, quiet=quiet)
    with board.shown():
        outcome = conduct(config, planned, address=address, insecure=insecure, listeners=[board], say=board.say)
    return tell_outcome(outcome, as_json=as_json)


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
