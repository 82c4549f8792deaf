"""``ui``: a sweep's comparison in MLflow, and its studies in Optuna's dashboard."""

from __future__ import annotations

import contextlib
import json
import os
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Storage, TrackingUri, Verbose, stderr

if TYPE_CHECKING:
    from orchestrator.folder import SweepFolder
    from orchestrator.tracking.pages import TaskPages
    from orchestrator.tracking.server import Served
    from orchestrator.viewing import Comparison

__all__ = ["ui"]

_OPTUNA_PORT = 8080


def ui(
    sweep: Annotated[str | None, typer.Argument(metavar="SWEEP", help="Id or folder; default: the newest.")] = None,
    storage: Storage = Path("sweeps"),
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Of this machine; default: 5000, or the next free one."),
    ] = None,
    tracking_uri: TrackingUri = None,
    optuna: Annotated[
        bool, typer.Option("--optuna", help="Also serve Optuna's dashboard, on a copy of the sweep's ledger.")
    ] = False,
    opened: Annotated[bool, typer.Option("--open/--no-browser", help="Open the first page in a browser.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Serve a sweep's comparison on this machine, print links that open on it, and go on until Ctrl-C."""
    from orchestrator.dashboard import require_dashboard
    from orchestrator.folder import find_sweep
    from orchestrator.reopening import recorded_config
    from orchestrator.stores import tracking_uri as configured_uri
    from orchestrator.viewing import comparing, ended_by_signals, serve_until_ended

    folder = find_sweep(sweep, storage)
    config = recorded_config(folder)
    uri = tracking_uri or configured_uri(config)
    if optuna:
        require_dashboard(folder)
    console = stderr()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    with ended_by_signals(), contextlib.ExitStack() as ending:
        tasks = [task.name for task in config.tasks]
        comparison = ending.enter_context(comparing(folder, uri, tasks, port, say))
        studies = ending.enter_context(_studies(folder, shown=optuna))
        servers = [served for served in (comparison.served, studies) if served is not None]
        if as_json:
            print(json.dumps(_document(folder.sweep_id, comparison, studies), indent=2), flush=True)
        else:
            _print(folder.sweep_id, comparison, studies)
        if opened:
            webbrowser.open(_first(comparison.pages[0]))
        if servers:
            say(_how_to_end(servers))
        serve_until_ended(servers)
    return 0


@contextlib.contextmanager
def _studies(folder: SweepFolder, *, shown: bool) -> Iterator[Served | None]:
    from orchestrator.dashboard import dashboard
    from orchestrator.tracking.server import free_port

    if not shown:
        yield None
        return
    with dashboard(folder, free_port(_OPTUNA_PORT)) as served:
        yield served


def _document(sweep_id: str, comparison: Comparison, studies: Served | None) -> dict[str, Any]:
    return {
        "sweep": sweep_id,
        "url": comparison.base,
        "started": comparison.served is not None,
        "tasks": [pages.document() for pages in comparison.pages],
        "optuna": None if studies is None else f"{studies.base}/dashboard",
    }


def _print(sweep_id: str, comparison: Comparison, studies: Served | None) -> None:
    print(sweep_id)
    for pages in comparison.pages:
        rows = [*pages.views.items(), ("without views" if pages.views else "its runs", pages.plain)]
        rows += [("report", pages.report)] if pages.report else []
        width = max(len(name) for name, _ in rows)
        print(pages.task)
        for name, url in rows:
            print(f"  {name:<{width}}  {url}")
        if pages.other is not None:
            print(
                f"  (the saved views show {pages.other}; `python -m orchestrator report {sweep_id}` has them show this)"
            )
    if studies is not None:
        print(f"optuna\n  a copy of the ledger, as it is now  {studies.base}/dashboard")
    print(end="", flush=True)


def _first(pages: TaskPages) -> str:
    return next(iter(pages.views.values()), pages.plain)


def _how_to_end(servers: list[Served]) -> str:
    far = ""
    if "SSH_CONNECTION" in os.environ:
        ports = " ".join(f"-L {port}:127.0.0.1:{port}" for port in (s.base.rpartition(":")[2] for s in servers))
        far = f"; to see it on the machine you sit at, run there: ssh -N {ports} {os.uname().nodename}"
    return f"Ctrl-C ends it{far}"
