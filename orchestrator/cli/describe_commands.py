"""``backbones``, ``validate`` and ``schema``: what there is and what is allowed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Verbose, print_json, stdout

__all__ = ["backbones", "schema", "validate"]


def backbones(as_json: AsJson = False, verbose: Verbose = False) -> int:
    """List the architectures whose facts are catalogued. Any other name of its source works as well."""
    from rich.table import Table

    from trainables.catalog import known_architectures, lookup

    specs = [lookup(name) for name in known_architectures()]
    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "source": spec.source,
            "modality": "image",
            "num_blocks": spec.num_blocks,
            "num_params": spec.num_params,
            "input_size": spec.input_size,
            "forward_flops": sum(spec.block_flops or ()),
        }
        for spec in specs
    ]
    if as_json:
        print_json(rows)
        return 0
    table = Table(box=None, padding=(0, 1))
    table.add_column("backbone", no_wrap=True)
    for column in ("blocks", "parameters M", "input px", "forward GFLOPs"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            str(row["num_blocks"]),
            f"{row['num_params'] / 1e6:.1f}",
            str(row["input_size"]),
            f"{row['forward_flops'] / 1e9:.2f}",
        )
    stdout().print(table)
    return 0


def validate(
    file: Annotated[str, typer.Argument(help="Sweep file, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Check a sweep file and report everything that is wrong with it."""
    from orchestrator.config import load_sweep
    from orchestrator.plan import plan

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
