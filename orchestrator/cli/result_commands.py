"""``report``, ``rank``, ``compare``, ``ls`` and ``show``: reading what sweeps left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from orchestrator.evaluated import Evaluated

__all__ = ["compare", "ls", "rank", "report", "show"]

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
    from orchestrator.config import load_sweep
    from orchestrator.display import print_ranking, print_screen
    from orchestrator.folder import find_sweep
    from orchestrator.results import ranking_document
    from orchestrator.screen_report import foretold
    from orchestrator.tracking import check

    folder = find_sweep(sweep, storage)
    config = load_sweep(folder.config_file, [f"storage={json.dumps(str(folder.path.parent))}"])
    uri = tracking_uri or configured_uri(config)
    check(uri, [task.name for task in config.tasks])
    console = stderr()
    outcome = republish(folder, config, uri, lambda text: console.print(text, highlight=False, markup=False))
    if as_json:
        print_json({**ranking_document(folder, outcome.ranking), "tracked": outcome.tracking.complete})
    else:
        print_ranking(outcome.ranking, stdout())
        print_screen(foretold(folder.screen.read(), outcome.ranking.table), stdout())
        for link in outcome.tracking.links.values():
            print(f"compare   {link}")
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
    b: Annotated[str, typer.Argument(metavar="B", help="Of another one.")],
    weights: Weights = None,
    storage: Storage = _STORAGE,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Print what changed from one sweep's ranking to another's, and what was different about the sweeps."""
    from orchestrator.comparison import compare_sweeps
    from orchestrator.display import print_comparison
    from orchestrator.folder import find_sweep

    found = compare_sweeps(find_sweep(a, storage), find_sweep(b, storage), read_weights(weights))
    if as_json:
        print_json(found.document())
        return 0
    print(f"a   {found.a}\nb   {found.b}")
    print_comparison(found.comparison, stdout())
    for change in found.changes:
        print(f"{change.key}: {change.a} in a, {change.b} in b")
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


def show(
    sweep: SweepName = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Only the runs of this number, in full.")] = None,
    storage: Storage = _STORAGE,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Show every run of a sweep, or everything about the runs of one number."""
    from orchestrator.display import print_attempts, print_runs
    from orchestrator.errors import UsageError
    from orchestrator.evaluated import read_evaluations
    from orchestrator.folder import find_sweep
    from orchestrator.run_list import list_runs

    folder = find_sweep(sweep, storage)
    ended, begun = list_runs(folder, trial)
    if trial is not None and not ended and not begun:
        num_runs = len(folder.trials.read())
        raise UsageError(f"{folder.sweep_id} has no finished run {trial}; it has {num_runs} runs, and none begun of it")
    if trial is None:
        if as_json:
            print_json({"sweep": folder.sweep_id, "runs": ended, "unfinished": begun})
        else:
            print_runs(ended, stdout())
            print_attempts(begun, stdout())
        return 0
    _, epochs, _ = folder.tables()
    curves = [row for row in epochs.to_pylist() if row["number"] == trial]
    evaluations = read_evaluations(folder)
    full: list[dict[str, Any]] = []
    for run in ended:
        curve = [row for row in curves if row["study"] == run["study"]]
        evaluated = evaluations.get((run["study"], trial))
        if as_json:
            full.append({**run, "curve": curve, **({} if evaluated is None else evaluated.document())})
        else:
            _print_run(run, curve, evaluated)
    if as_json:
        print_json({"sweep": folder.sweep_id, "runs": full, "unfinished": begun})
    else:
        print_attempts(begun, stdout())
    return 0


def _print_run(run: dict[str, Any], curve: list[dict[str, Any]], evaluated: Evaluated | None) -> None:
    from orchestrator.display import print_measures

    for key, value in run.items():
        if key != "attempts":
            print(f"{key:<22} {value}")
    for attempt in run["attempts"]:
        why = "" if attempt["cause"] is None else f", after: {attempt['cause']}"
        print(f"attempt {attempt['attempt']:<3} {attempt['started_at']:%Y-%m-%d %H:%M:%S} UTC{why}")
    for row in curve:
        print(
            f"epoch {row['epoch']:<3} train loss {row['train_loss']:.4f}  val loss {row['val_loss']:.4f}  "
            f"val score {row['val_score']:.4f}  {row['train_s']:.1f} s"
        )
    if evaluated is not None:
        print_measures(evaluated, stdout())
    print()
