"""The runs of a sweep as a person asks for them: those that ended, and those that were begun and have not."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from orchestrator.folder import SweepFolder
from orchestrator.ranking import superseded
from orchestrator.results import one_thread
from orchestrator.unfinished import unfinished

__all__ = ["list_runs"]

Rows = list[dict[str, Any]]


def list_runs(folder: SweepFolder, number: int | None = None) -> tuple[Rows, Rows]:
    """Runs that ended and runs that did not, of all studies.

    Returns:
        Rows of TRIALS with ``superseded`` (bool: it is in no result, because another configuration was chosen
        after more trials) and ``attempts`` (its rows of ATTEMPTS, without study and number); and dicts with
        ``study``, ``number``, ``epochs`` (completed so far) and ``attempts``.

    Args:
        number: only the runs of this number; None is all.

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
    ended = [
        {**row, "superseded": key in out, "attempts": attempts[key]}
        for row in trials.to_pylist()
        if number in (None, row["number"]) and (key := (row["study"], row["number"]))
    ]
    begun = [
        {"study": study, "number": run, "epochs": len(left.epochs), "attempts": attempts[study, run]}
        for (study, run), left in unfinished(folder).items()
        if number in (None, run)
    ]
    return ended, begun
