"""Writes a sweep into MLflow from its records: after an outage, on a new server, or again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from orchestrator.errors import redact
from orchestrator.evaluated import Evaluated
from orchestrator.records import OF_EXAMPLES
from orchestrator.tracking.backlog import Backlog, Epoch, Finished, Published, RunKey
from orchestrator.tracking.failure import ForbiddenError, UnavailableError, reason_of
from orchestrator.tracking.info import DatasetInfo, Status, SweepInfo, TrackingSummary
from orchestrator.tracking.store import Store
from orchestrator.tracking.tracker import summary_of
from orchestrator.tracking.writer import SweepWriter

__all__ = ["replay"]


def replay(
    info: SweepInfo,
    tracking_uri: str,
    *,
    trials: pa.Table,
    epochs: pa.Table,
    tests: pa.Table,
    ranking: pa.Table | None,
    verdicts: Mapping[str, str],
    datasets: Iterable[DatasetInfo],
    files: Mapping[str, Path],
    say: Callable[[str], None],
    evaluations: Mapping[tuple[str, int], Evaluated] | None = None,
    more: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
    artifact_location: str | None = None,
    status: Status | None = "FINISHED",
) -> TrackingSummary:
    """Complete what MLflow holds of a sweep. Doing it twice changes nothing.

    Args:
        say: told once, if MLflow cannot be written.
        evaluations: what else was measured, by study and number of the run.
        more: metrics of summary runs beside the ranking's, by task and backbone.
        status: the sweep's; runs without a TRIALS row become KILLED. None while its driver still writes:
            it is then left to the driver to end runs.
    """
    store = Store(tracking_uri, artifact_location=artifact_location)
    writer = SweepWriter(info, store, live=False)
    backlog = _backlog(trials, epochs, tests, evaluations or {}, datasets)
    backlog.add(Published(ranking, verdicts, files, more or {}))
    error: str | None = None
    try:
        writer.open()
        writer.write(backlog)
        if status is not None:
            writer.finish(status)
    except (UnavailableError, ForbiddenError) as failure:
        error = str(failure)
    except Exception as failure:  # mlflow's own; the records are what counts
        error = f"{type(failure).__name__}: {reason_of(failure)}"
    error = error or writer.complaint
    if error is not None:
        say(f"MLflow at {redact(tracking_uri)} cannot be written: {error}. The sweep's records are complete.")
    return summary_of(info, tracking_uri, writer, error=error)


def _backlog(
    trials: pa.Table,
    epochs: pa.Table,
    tests: pa.Table,
    evaluations: Mapping[tuple[str, int], Evaluated],
    datasets: Iterable[DatasetInfo],
) -> Backlog:
    """Runs that ended. An epoch of a run without a TRIALS row is left out: its configuration is not known."""
    backlog = Backlog()
    for info in datasets:
        backlog.add(info)
    by_run = {RunKey(row["study"], row["number"]): row for row in tests.drop_columns(list(OF_EXAMPLES)).to_pylist()}
    for trial in trials.to_pylist():
        key = RunKey(trial["study"], trial["number"])
        backlog.add(Finished(trial, by_run.get(key), evaluations.get(key)))
    for row in epochs.to_pylist():
        if RunKey(row["study"], row["number"]) in backlog.runs:
            backlog.add(Epoch(row))
    return backlog
