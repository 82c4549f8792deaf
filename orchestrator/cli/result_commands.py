"""``report``, ``rank``, ``compare`` and ``ls``: reading what sweeps left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    AsJson,
    Storage,
    TrackingUri,
    Verbose,
    Weights,
    print_json,
    read_weights,
    stderr,
    stdout,
)

__all__ = ["compare", "ls", "rank", "report"]

SweepName = Annotated[str | None, typer.Argument(metavar="SWEEP", help="Id or folder; default: the newest.")]
_STORAGE = Path("sweeps")


def report(
    sweep: SweepName = None,
    storage: Storage = _STORAGE,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Rank a sweep's records again, rewrite its files and bring MLflow up to date."""
    from orchestrator.conduct import republish
    from orchestrator.conduct import tracking_uri as configured_uri
    from orchestrator.display import print_ranking, print_screen
    from orchestrator.folder import find_sweep
    from orchestrator.overview import command_on
    from orchestrator.reopening import recorded_config
    from orchestrator.results import ranking_document
    from orchestrator.screen_report import foretold
    from orchestrator.tracking import check

    folder = find_sweep(sweep, storage)
    config = recorded_config(folder)
    uri = tracking_uri or configured_uri(config)
    check(uri, [task.name for task in config.tasks])
    console = stderr()
    outcome = republish(folder, config, uri, lambda text: console.print(text, highlight=False, markup=False))
    if as_json:
        print_json({**ranking_document(folder, outcome.ranking), "tracked": outcome.tracking.complete})
    else:
        print_ranking(outcome.ranking, stdout())
        print_screen(foretold(folder.screen.read(), outcome.ranking.table), stdout())
        served = command_on(folder, "ui")
        for where in dict.fromkeys(served if link.command else link.url for link in outcome.tracking.links.values()):
            print(f"compare   {where}")
    return 0 if outcome.tracking.complete else 1


def rank(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SWEEP | FILE]...",
            help="Ids or folders of sweeps, or CSV and Parquet files of scores; default: the newest sweep.",
        ),
    ] = None,
    weights: Weights = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Of sweeps also how much depth, learning rate and spending matter.")
    ] = False,
    storage: Storage = _STORAGE,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Print the ranking of sweeps, or of tables of scores, each by itself."""
    from orchestrator.display import print_profiles, print_ranking, print_screen
    from orchestrator.folder import find_sweep
    from orchestrator.ranking import rank_scores
    from orchestrator.results import (
        profile_document,
        profile_sweep,
        rank_sweep,
        ranking_document,
        scores_document,
    )
    from orchestrator.score_table import is_score_file, read_scores
    from orchestrator.screen_report import foretold

    options = read_weights(weights)
    documents = []
    named: Sequence[str | None] = sources or [None]
    for source in named:
        if source is not None and is_score_file(source):
            ranking = rank_scores(read_scores(Path(source)), options)
            documents.append(scores_document(source, ranking))
            if not as_json:
                print(source)
                print_ranking(ranking, stdout())
            continue
        folder = find_sweep(source, storage)
        ranking = rank_sweep(folder, options)
        if as_json:
            documents.append(ranking_document(folder, ranking) | (profile_document(folder) if profile else {}))
            continue
        print(folder.sweep_id)
        print_ranking(ranking, stdout())
        print_screen(foretold(folder.screen.read(), ranking.table), stdout())
        if profile:
            print_profiles(*profile_sweep(folder), stdout())
    if as_json:
        print_json(documents)
    return 0


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Id or folder of a sweep.")],
    b: Annotated[
        str | None, typer.Argument(metavar="B", help="Of another one; default: the newest other one on the same task.")
    ] = None,
    weights: Weights = None,
    storage: Storage = _STORAGE,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Print what changed from one sweep's ranking to another's, and what was different about the sweeps."""
    from orchestrator.comparison import compare_sweeps, newest_other
    from orchestrator.display import print_sweep_comparison
    from orchestrator.folder import find_sweep

    first = find_sweep(a, storage)
    second = newest_other(first, storage) if b is None else find_sweep(b, storage)
    found = compare_sweeps(first, second, read_weights(weights))
    if as_json:
        print_json(found.document())
    else:
        print_sweep_comparison(found, stdout())
    return 0


def ls(storage: Storage = _STORAGE, as_json: AsJson = False, verbose: Verbose = False) -> int:
    """List the sweeps in a storage folder, oldest first: which run, how far they came, and how to go on."""
    from orchestrator.display import print_sweeps
    from orchestrator.folder import list_sweeps
    from orchestrator.overview import overview

    sweeps = [overview(folder) for folder in list_sweeps(storage)]
    if as_json:
        print_json([sweep.document() for sweep in sweeps])
    else:
        print_sweeps(sweeps, stdout())
    return 0
