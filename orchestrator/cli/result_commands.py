"""``report``, ``rank``, ``ls`` and ``show``: reading what sweeps left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Storage, TrackingUri, Verbose, print_json, stderr, stdout

__all__ = ["ls", "rank", "report", "show"]

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
    from orchestrator.display import print_ranking
    from orchestrator.folder import find_sweep
    from orchestrator.results import ranking_document
    from orchestrator.tracking import check

    folder = find_sweep(sweep, storage)
    config = load_sweep(folder.config_file, [f"storage={json.dumps(str(folder.path.parent))}"])
    uri = tracking_uri or configured_uri(config)
    check(uri)
    console = stderr()
    outcome = republish(folder, config, uri, lambda text: console.print(text, highlight=False, markup=False))
    if as_json:
        print_json({**ranking_document(folder, outcome.ranking), "tracked": outcome.tracking.complete})
    else:
        print_ranking(outcome.ranking, stdout())
        for link in outcome.tracking.links.values():
            print(f"compare   {link}")
    return 0 if outcome.tracking.complete else 1


def rank(
    sweeps: Annotated[
        list[str] | None, typer.Argument(metavar="SWEEP...", help="Ids or folders; default: the newest.")
    ] = None,
    storage: Storage = _STORAGE,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Print the ranking of sweeps, each by itself, from their records."""
    from orchestrator.display import print_ranking
    from orchestrator.folder import find_sweep
    from orchestrator.results import rank_sweep, ranking_document

    folders = [find_sweep(name, storage) for name in (sweeps or [None])]  # type: ignore[list-item]
    rankings = [(folder, rank_sweep(folder)) for folder in folders]
    if as_json:
        print_json([ranking_document(folder, ranking) for folder, ranking in rankings])
        return 0
    for folder, ranking in rankings:
        print(folder.sweep_id)
        print_ranking(ranking, stdout())
    return 0


def ls(storage: Storage = _STORAGE, as_json: AsJson = False, verbose: Verbose = False) -> int:
    """List the sweeps in a storage folder, oldest first."""
    from orchestrator.display import print_sweeps
    from orchestrator.folder import list_sweeps

    rows = [_summary(folder) for folder in list_sweeps(storage)]
    if as_json:
        print_json(rows)
    else:
        print_sweeps(rows, stdout())
    return 0


def show(
    sweep: SweepName = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Only the runs of this number, in full.")] = None,
    storage: Storage = _STORAGE,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Show every run of a sweep, or everything about the runs of one number."""
    from orchestrator.display import print_runs
    from orchestrator.errors import UsageError
    from orchestrator.folder import find_sweep

    folder = find_sweep(sweep, storage)
    trials, epochs, _ = folder.tables()
    runs = [row for row in trials.to_pylist() if trial is None or row["number"] == trial]
    if trial is not None and not runs:
        raise UsageError(f"{folder.sweep_id} has no finished run {trial}; it has {len(trials)} runs")
    if trial is None:
        if as_json:
            print_json({"sweep": folder.sweep_id, "runs": runs})
        else:
            print_runs(runs, stdout())
        return 0
    curves = [row for row in epochs.to_pylist() if row["number"] == trial]
    full = [{**run, "curve": [row for row in curves if row["study"] == run["study"]]} for run in runs]
    if as_json:
        print_json({"sweep": folder.sweep_id, "runs": full})
    else:
        for run in full:
            _print_run(run)
    return 0


def _print_run(run: dict[str, Any]) -> None:
    for key, value in run.items():
        if key != "curve":
            print(f"{key:<22} {value}")
    for row in run["curve"]:
        print(
            f"epoch {row['epoch']:<3} train loss {row['train_loss']:.4f}  val loss {row['val_loss']:.4f}  "
            f"val score {row['val_score']:.4f}  {row['train_s']:.1f} s"
        )
    print()


def _summary(folder: Any) -> dict[str, Any]:
    """One line of ``ls``. The leader is read from the ranking's file, not computed anew for every sweep."""
    states = folder.trials.read()["state"].to_pylist()
    file = folder.path / "ranking.json"
    ranking = json.loads(file.read_text(encoding="utf-8"))["ranking"] if file.exists() else []
    leaders = [f"{row['backbone']} ({row['task']})" for row in ranking if row["rank"] == 1]
    return {
        "sweep": folder.sweep_id,
        "path": str(folder.path),
        "runs": len(states),
        "failed": states.count("failed"),
        "leader": ", ".join(leaders) or "-",
        "created": folder.read_facts().get("created_at", "-"),
    }
