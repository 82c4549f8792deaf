"""Options that several commands share, and the consoles they print to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from orchestrator.errors import UsageError
from orchestrator.terminal import Progress
from trainables.errors import did_you_mean

if TYPE_CHECKING:
    from orchestrator.ranking.options import RankingOptions

__all__ = [
    "Address",
    "AsJson",
    "Insecure",
    "ProgressOf",
    "Quiet",
    "Storage",
    "TrackingUri",
    "Verbose",
    "Weights",
    "print_json",
    "read_weights",
    "stderr",
    "stdout",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr: --progress none.")]
ProgressOf = Annotated[
    Progress,
    typer.Option(
        "--progress",
        help="On stderr: live is one board that redraws itself, lines a line per finished run, jsonl an event a line "
        "for programs; auto is live on a terminal and lines elsewhere.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to run on ('auto' on a head node); default: this machine."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Join a cluster that lets anybody in.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")]
Storage = Annotated[Path, typer.Option("--storage", help="Folder that holds the sweeps.")]
TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's address; default: the sweep's own.")]

Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="What the score is made of: default, accuracy_only, few_trials, few_labels, or quality=1,robustness=2; "
        "default: what the sweep asked for.",
    ),
]


def read_weights(text: str | None) -> RankingOptions | None:
    """What ``--weights`` says; None where it says nothing.

    Raises:
        UsageError: it names neither a preset nor components with numbers.
    """
    from orchestrator.ranking.options import COMPONENTS, PRESETS, RankingOptions

    if text is None:
        return None
    if text in PRESETS:
        return RankingOptions(weights=PRESETS[text])
    names = [*PRESETS, *COMPONENTS]
    weights = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in COMPONENTS or not number:
            raise UsageError(
                f"--weights must be one of {', '.join(PRESETS)}, or component=number pairs of {', '.join(COMPONENTS)}, "
                f"got {part!r}" + did_you_mean(name, names)
            )
        try:
            weights[name] = float(number)
        except ValueError:
            raise UsageError(f"--weights: the weight of {name} must be a number, got {number!r}") from None
    try:
        return RankingOptions(weights=weights)
    except ValueError as error:
        raise UsageError(f"--weights: {error}") from error


def stdout() -> Console:
    """Results. Wide where nobody's terminal sets the width, so that a pipe gets whole lines."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def stderr() -> Console:
    """Progress and messages."""
    return Console(file=sys.stderr, width=None if sys.stderr.isatty() else 160)


def print_json(document: Any) -> None:
    """One JSON document on stdout; times become ISO 8601."""
    print(json.dumps(document, indent=2, default=str))
