"""``export``: the tuned network of a backbone, as a folder of its own and in MLflow's registry."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import AsJson, Storage, TrackingUri, Verbose, print_json, stderr
from orchestrator.errors import redact

if TYPE_CHECKING:
    from orchestrator.models.export import Exported

__all__ = ["export"]


def export(
    sweep: Annotated[str | None, typer.Argument(metavar="SWEEP", help="Id or folder; default: the newest.")] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="As the ranking names it; default: the leader.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Needed where the sweep has several.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder to make; default: <backbone>-<task> here.")
    ] = None,
    register: Annotated[
        str | None,
        typer.Option("--register", metavar="NAME", help="Make a version of this model in MLflow's registry."),
    ] = None,
    storage: Storage = Path("sweeps"),
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Take a backbone's tuned network out of a sweep, as a model that predicts by itself.

    It is an MLflow model: a folder with weights (safetensors), a card, a signature, an example and the code that
    loads it. With --register alone no folder is written.
    """
    from orchestrator.conduct import republish
    from orchestrator.conduct import tracking_uri as configured_uri
    from orchestrator.folder import find_sweep
    from orchestrator.models.export import Exported, choose_model, default_output, export_model, register_model
    from orchestrator.reopening import recorded_config
    from orchestrator.results import rank_sweep

    folder = find_sweep(sweep, storage)
    model = choose_model(folder, rank_sweep(folder).table, backbone, task)
    config = recorded_config(folder)
    uri = tracking_uri or configured_uri(config)
    path = registered = None
    if output is not None or register is None:
        path = export_model(model, output or default_output(model))
    if register is not None:
        console = stderr()

        def say(text: str) -> None:
            console.print(text, highlight=False, markup=False)

        registered = register_model(folder, model, register, uri, catch_up=lambda: republish(folder, config, uri, say))
    exported = Exported(model=model, path=path, registered=registered)
    if as_json:
        print_json(exported.document())
    else:
        _print(exported, uri)
    return 0


def _print(exported: Exported, uri: str) -> None:
    facts, made = exported.model.facts, exported.registered
    print(
        f"model     {facts.backbone} tuned on {facts.task}: test {facts.metric} {facts.test_score:.3f} "
        f"on {facts.num_test:,} samples (confirmation {exported.model.number}, the best on validation)"
    )
    if exported.path is not None:
        shown = shlex.quote(str(exported.path))
        print(f"folder    {exported.path} (README.md is its card)")
        print(f'load      mlflow.pyfunc.load_model("{exported.path}")')
        print(f"serve     mlflow models serve -m {shown} --env-manager local")
    if made is not None:
        print(f"registry  {made.uri}{'' if made.is_new else ' (it was there already)'}")
        print(f'load      mlflow.set_tracking_uri("{redact(uri)}"); mlflow.pyfunc.load_model("{made.uri}")')
