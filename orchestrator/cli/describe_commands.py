"""``backbones``, ``validate`` and ``schema``: what there is and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer

from orchestrator.cli.options import AsJson, Verbose, print_json, stdout

if TYPE_CHECKING:
    from trainables.catalog import BackboneSpec

__all__ = ["backbones", "schema", "validate"]

_UNITS: Final = {"image": "px", "text": "tokens", "audio": "samples"}


def backbones(
    source: Annotated[str | None, typer.Option("--source", help="Only of this library: timm, torchvision, hf.")] = None,
    modality: Annotated[str | None, typer.Option("--modality", help="Only for image, text or audio.")] = None,
    search: Annotated[str | None, typer.Option("--search", metavar="TEXT", help="Only with TEXT in the name.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """List the architectures whose facts are catalogued. Any other name of its source works as well."""
    from orchestrator.errors import UsageError
    from trainables.catalog import SOURCES, known_architectures, lookup
    from trainables.errors import did_you_mean
    from trainables.modality import Modality
    from trainables.plugins import plugin_sources

    options = {"source": (source, (*SOURCES, *plugin_sources())), "modality": (modality, get_args(Modality))}
    for name, (value, known) in options.items():
        if value is not None and value not in known:
            raise UsageError(f"--{name} must be one of {', '.join(known)}, got {value!r}{did_you_mean(value, known)}")
    rows = [
        row
        for row in (_facts(lookup(name)) for name in known_architectures())
        if (source is None or row["source"] == source)
        and (modality is None or row["modality"] == modality)
        and (search is None or search.lower() in row["name"].lower())
    ]
    if as_json:
        print_json(rows)
    else:
        _print_backbones(rows)
    return 0


def _facts(spec: BackboneSpec) -> dict[str, Any]:
    from orchestrator.availability import is_cached, licence

    return {
        "name": spec.name,
        "source": spec.source,
        "modality": spec.modality,
        "num_params": spec.num_params,
        "num_blocks": spec.num_blocks,
        "input_size": spec.input_size,
        "forward_flops": None if spec.block_flops is None else sum(spec.block_flops),
        "weights": spec.weights,
        "licence": licence(spec),
        "cached": is_cached(spec),
    }


def _print_backbones(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    table.add_column("backbone", no_wrap=True)
    for column in ("for", "here"):
        table.add_column(column)
    for column in ("blocks", "parameters M", "input", "forward GFLOPs"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            row["modality"] or "?",
            {True: "yes", False: "no", None: "?"}[row["cached"]],
            _number(row["num_blocks"]),
            _number(row["num_params"], 1e6, ".1f"),
            f"{_number(row['input_size'])} {_UNITS.get(row['modality'], '')}".rstrip(),
            _number(row["forward_flops"], 1e9, ".2f"),
        )
    stdout().print(table)


def _number(value: float | None, unit: float = 1, form: str = ".0f") -> str:
    return "?" if value is None else f"{value / unit:{form}}"


def validate(
    file: Annotated[str, typer.Argument(help="Sweep file, the name of a shipped one, or a cluster file of `ray up`.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Check a sweep file or a cluster file and report everything that is wrong with it."""
    from orchestrator.cluster.config_file import check_cluster_file, is_cluster_file, summary
    from orchestrator.config import load_sweep
    from orchestrator.planning.plan import plan

    if not overrides and is_cluster_file(file):
        found = summary(check_cluster_file(file))
        if as_json:
            print_json({"valid": True, "cluster": found})
        else:
            print(f"{file} is valid: {found}")
        return 0
    planned = plan(load_sweep(file, overrides or []))
    if as_json:
        print_json({"valid": True, "studies": len(planned.studies), "runs": planned.runs})
    else:
        print(f"{file} is valid: {len(planned.studies)} studies, {planned.runs} runs")
    return 0


def schema(verbose: Verbose = False) -> int:
    """Print the JSON Schema of a sweep file, for editors."""
    from orchestrator.config import config_schema

    print_json(config_schema())
    return 0
