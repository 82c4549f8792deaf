"""``sweep``: the main job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import Address, AsJson, Insecure, ProgressOf, Quiet, Verbose, print_json
from orchestrator.cli.outcome import tell_outcome
from orchestrator.cli.telling import Teller

if TYPE_CHECKING:
    from orchestrator.config import SweepConfig
    from orchestrator.planning.plan import Plan

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
    progress: ProgressOf = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Fine-tune every backbone under many freezing depths and learning rates, and rank them."""
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
            progress=progress,
            quiet=quiet,
            verbose=verbose,
        )
    shortcuts = {"budget.allocation": allocate, "tracking_uri": tracking_uri, "storage": storage, "seed": seed}
    act = partial(
        _plan_or_run,
        file or "quickstart",
        [*(overrides or []), *_shortcuts(shortcuts)],
        address=address,
        insecure=insecure,
        plan_only=plan_only,
        print_config=print_config,
        as_json=as_json,
    )
    teller = Teller(progress, quiet=quiet)
    return teller.ending(lambda: act(teller), verbose=verbose)


def _plan_or_run(
    file: str,
    overrides: Sequence[str],
    teller: Teller,
    *,
    address: str | None,
    insecure: bool,
    plan_only: bool,
    print_config: bool,
    as_json: bool,
) -> int:
    from orchestrator.config import load_sweep, resolved_yaml
    from orchestrator.planning.plan import plan, plan_to_dict
    from orchestrator.planning.table import render_plan
    from orchestrator.requirements import advice

    config = load_sweep(file, overrides)
    if print_config:
        print(resolved_yaml(config), end="")
        return 0
    planned = plan(config)
    for sentence in advice(config):
        teller.mention(f"note: {sentence}")
    if plan_only:
        from trainables.data.cache import cache_limit

        limit = cache_limit()
        if as_json:
            print_json({**plan_to_dict(planned), "cache_limit_bytes": limit})
        else:
            print(render_plan(planned, limit))
        return 0
    return _run(config, planned, address, teller, insecure=insecure, as_json=as_json)


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


def _run(
    config: SweepConfig, planned: Plan, address: str | None, teller: Teller, *, insecure: bool, as_json: bool
) -> int:
    from orchestrator.planning.announcement import announcement
    from orchestrator.requirements import require_versions
    from orchestrator.stores import storage_folder, tracking_uri

    teller.announce(announcement(config, planned, address=address))
    teller.event("plan", **_plan_event(planned), storage=str(storage_folder(config)), tracking_uri=tracking_uri(config))
    require_versions()  # before any other package is loaded
    from orchestrator.conduct import conduct
    from orchestrator.tracking import check

    for unsafe in check(tracking_uri(config), [task.name for task in config.tasks]).warnings:
        teller.say(f"warning: {unsafe}")
    board = teller.board(planned)
    with board.shown():
        outcome = conduct(
            config,
            planned,
            address=address,
            insecure=insecure,
            listeners=[board],
            watcher=board,
            say=board.say,
        )
    return tell_outcome(outcome, teller, as_json=as_json)


def _plan_event(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "allocation": plan.allocation,
        "num_studies": len(plan.studies),
        "num_runs": plan.runs,
        "epochs_expected": plan.epochs_expected,
        "compute_s": plan.compute_s,
        "studies": [
            {
                "study": study.key,
                "task": study.task.name,
                "backbone": study.backbone.name,
                "num_runs": study.runs,
                "compute_s": plan.seconds(study),
            }
            for study in plan.studies
        ],
    }
