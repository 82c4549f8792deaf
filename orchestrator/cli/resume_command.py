"""``resume``: go on with a sweep that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import Address, AsJson, Insecure, Quiet, Storage, TrackingUri, Verbose, stderr
from orchestrator.cli.outcome import tell_outcome

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
        quiet=quiet,
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
    quiet: bool,
) -> int:
    """Resume a sweep, with more budget where `extension` grants it. Returns the exit code."""
    from orchestrator.folder import FINISHED_AT, find_sweep
    from orchestrator.results import exit_code

    folder = find_sweep(sweep, storage)
    if extension is None and folder.read_facts().get(FINISHED_AT):
        stderr().print(
            f"nothing to do: {folder.sweep_id} has finished; its ranking: python -m orchestrator rank "
            f"{folder.sweep_id}; more trials: python -m orchestrator sweep --extend {folder.sweep_id} --set "
            "budget.trials=...",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return exit_code(folder.trials.read())
    from orchestrator.requirements import require_versions

    require_versions()  # before any other package is loaded
    from orchestrator.display import make_board
    from orchestrator.resuming import go_on

    outcome = go_on(
        folder,
        make_board=lambda planned: make_board(planned, stderr(), quiet=quiet),
        address=address,
        insecure=insecure,
        uri=tracking_uri,
        resources=resources,
        extension=extension,
    )
    return tell_outcome(outcome, as_json=as_json)
