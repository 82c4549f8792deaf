"""``resume``: go on with a sweep that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import Address, AsJson, Insecure, ProgressOf, Quiet, Storage, TrackingUri, Verbose
from orchestrator.cli.outcome import tell_outcome
from orchestrator.cli.telling import Teller
from orchestrator.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["go_on_with", "resume"]


def resume(
    sweep: Annotated[str | None, typer.Argument(metavar="SWEEP", help="Id or folder; default: the newest.")] = None,
    storage: Storage = Path("sweeps"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of resources.* alone, e.g. --set resources.max_concurrent=4."),
    ] = None,
    tracking_uri: TrackingUri = None,
    address: Address = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
    progress: ProgressOf = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Go on with a sweep after any stop: a kill, Ctrl-C, a full disk, a lost machine. Nothing recorded runs again."""
    return go_on_with(
        sweep,
        storage,
        resources=overrides or (),
        tracking_uri=tracking_uri,
        address=address,
        insecure=insecure,
        as_json=as_json,
        progress=progress,
        quiet=quiet,
        verbose=verbose,
    )


def go_on_with(
    sweep: str | None,
    storage: Path,
    *,
    resources: Sequence[str] = (),
    extension: Sequence[str] | None = None,
    tracking_uri: str | None,
    address: str | None,
    insecure: bool,
    as_json: bool,
    progress: Progress,
    quiet: bool,
    verbose: bool,
) -> int:
    """Resume a sweep, with more budget where `extension` grants it. Returns the exit code."""
    teller = Teller(progress, quiet=quiet)

    def act() -> int:
        return _go_on(
            sweep,
            storage,
            teller,
            resources=resources,
            extension=extension,
            tracking_uri=tracking_uri,
            address=address,
            insecure=insecure,
            as_json=as_json,
        )

    return teller.ending(act, verbose=verbose)


def _go_on(
    sweep: str | None,
    storage: Path,
    teller: Teller,
    *,
    resources: Sequence[str],
    extension: Sequence[str] | None,
    tracking_uri: str | None,
    address: str | None,
    insecure: bool,
    as_json: bool,
) -> int:
    from orchestrator.folder import FINISHED_AT, find_sweep
    from orchestrator.results import exit_code

    folder = find_sweep(sweep, storage)
    if extension is None and folder.read_facts().get(FINISHED_AT):
        teller.say(
            f"nothing to do: {folder.sweep_id} has finished; its ranking: python -m orchestrator rank "
            f"{folder.sweep_id}; more trials: python -m orchestrator sweep --extend {folder.sweep_id} --set "
            "budget.trials=...",
        )
        return exit_code(folder.trials.read())
    num_ended = folder.trials.read().num_rows
    teller.event("resuming", sweep=folder.sweep_id, path=str(folder.path), num_ended=num_ended)
    teller.announce([("", f"going on with {folder.sweep_id}, of which {num_ended} runs have ended")])
    from orchestrator.requirements import require_versions

    require_versions()  # before any other package is loaded
    from orchestrator.resuming import go_on

    outcome = go_on(
        folder,
        make_board=teller.board,
        address=address,
        insecure=insecure,
        uri=tracking_uri,
        resources=resources,
        extension=extension,
    )
    return tell_outcome(outcome, teller, as_json=as_json)
