"""The runs of a sweep as a person asks for them: those that ended, and those that were begun and have not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.folder import SweepFolder
from orchestrator.ranking import superseded
from orchestrator.ranking.confirmed import confirmed
from orchestrator.ranking.study import read_runs
from orchestrator.results import one_thread
from orchestrator.runs.unfinished import unfinished
from orchestrator.workers.request import SEARCHED

__all__ = ["Rows", "chosen_runs", "in_order", "list_runs"]

Rows = list[dict[str, Any]]

_STATES = ("completed", "stopped", "failed")
"""In the order in which they are listed."""


def list_runs(
    folder: SweepFolder, number: int | None = None, *, backbone: str | None = None, task: str | None = None
) -> tuple[Rows, Rows]:
    """Runs that ended and runs that did not, of all studies.

    Returns:
        Rows of TRIALS with ``superseded`` (bool: it is in no result, because another configuration was chosen
        after more trials) and ``attempts`` (its rows of ATTEMPTS, without study and number); and dicts with
        ``study``, ``number``, ``epochs`` (completed so far) and ``attempts``.

    Args:
        number: only the runs of this number; None is all.
        backbone: only of backbones whose name contains this.
        task: only of this task.

    Raises:
        TableDamaged: a table is no table of this version.
        InvalidTable: the tables contradict themselves.
    """
    trials = folder.trials.read()
    with one_thread():
        out = superseded(trials)
    attempts: defaultdict[tuple[str, int], Rows] = defaultdict(list)
    for row in folder.attempts.read().to_pylist():
        attempts[row.pop("study"), row.pop("number")].append(row)

    def is_wanted(study: str, run: int) -> bool:
        of_task, _, name = study.partition(":")
        return number in (None, run) and (backbone or "") in name and task in (None, of_task)

    ended = [
        {**row, "superseded": key in out, "attempts": attempts[key]}
        for row in trials.to_pylist()
        if is_wanted(*(key := (row["study"], row["number"])))
    ]
    begun = [
        {"study": study, "number": run, "epochs": len(left.epochs), "attempts": attempts[study, run]}
        for (study, run), left in unfinished(folder).items()
        if is_wanted(study, run)
    ]
    return ended, begun


def chosen_runs(trials: pa.Table) -> dict[str, int]:
    """Study -> number of the trial whose configuration counts as its choice now; without studies that have none.

    Args:
        trials: columns of TRIALS.

    Raises:
        InvalidTable: the table contradicts itself.
    """
    found = {}
    with one_thread():
        for study in trials["study"].unique().to_pylist():
            run = confirmed(read_runs(trials.filter(pc.field("study") == study))).chosen
            if run is not None:
                found[study] = run.number
    return found


def in_order(runs: Rows, chosen: Mapping[str, int], places: Mapping[str, int | None]) -> Rows:
    """By task; in it by study, the best ranked first, then as their choices did on validation; in it what was searched,
    the best first and stopped and failed ones last, then confirmations and runs on fewer samples as they came.

    Args:
        chosen: as `chosen_runs` has it.
        places: of studies in the ranking.
    """
    best = {run["study"]: run["val_score"] for run in runs if chosen.get(run["study"]) == run["number"]}

    def order(run: Mapping[str, Any]) -> tuple[Any, ...]:
        study, place = run["study"], places.get(run["study"])
        of_study = (place is None, place or 0, -best.get(study, -1e9), study)
        if run["phase"] not in SEARCHED:
            return (run["task"], *of_study, 1, 0, 0.0, run["number"])
        score = run["val_score"]
        return (
            run["task"],
            *of_study,
            0,
            _STATES.index(run["state"]),
            -1e9 if score is None else -score,
            run["number"],
        )

    return sorted(runs, key=order)
