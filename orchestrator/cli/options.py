"""Options that several commands share, and the consoles they print to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

__all__ = ["AsJson", "Quiet", "Storage", "TrackingUri", "Verbose", "print_json", "stderr", "stdout"]

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")]
Storage = Annotated[Path, typer.Option("--storage", help="Folder that holds the sweeps.")]
TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's address; default: the sweep's own.")]


def stdout() -> Console:
    """Results. Wide where nobody's terminal sets the width, so that a pipe gets whole lines."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def stderr() -> Console:
    """Progress and messages."""
    return Console(file=sys.stderr, width=None if sys.stderr.isatty() else 160)


def print_json(document: Any) -> None:
    """One JSON document on stdout; times become ISO 8601."""
    print(json.dumps(document, indent=2, default=str))
