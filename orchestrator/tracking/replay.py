"""Writes a sweep into MLflow from its records: after an outage, on a new server, or again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import pyarrow.compute as pc

from orchestrator.errors import redact
from orchestrator.tracking.backlog import Backlog, Published, Recorded
from orchestrator.tracking.failure import ForbiddenError, UnavailableError, reason_of
from orchestrator.tracking.info import DatasetInfo, Status, SweepInfo, TrackingSummary
from orchestrator.tracking.store import Store
from orchestrator.tracking.tracker import summary_of
from orchestrator.tracking.writer import SweepWriter

__all__ = ["replay"]

_PAUSES_S: Final = (1.0, 3.0)
"""Before each further try."""

_QUICK_S: Final = 10.0
"""A try that failed after more than this is not repeated: somebody is waiting."""


def replay(
    info: SweepInfo,
    tracking_uri: str,
    recorded: Recorded,
    publication: Published,
    *,
    datasets: Iterable[DatasetInfo],
    say: Callable[[str], None],
    artifact_location: str | None = None,
    status: Status | None = "FINISHED",
) -> TrackingSummary:
    """Complete what MLflow holds of a sweep. Doing it twice changes nothing.

    Args:
        say: told once, if MLflow cannot be written.
        status: the sweep's: KILLED of one whose driver is gone before its end. Runs without a TRIALS row
            become KILLED. None while its driver still writes: it is then left to the driver to end runs.
    """
    store = Store(tracking_uri, artifact_location=artifact_location)
    writer = SweepWriter(info, store, live=False)
    backlog = Backlog()
    for dataset in datasets:
        backlog.add(dataset)
    backlog.add(recorded)
    backlog.add(publication)
    ended_at = pc.max(recorded.trials["finished_at"]).as_py()
    error = _write(writer, backlog, status, ended_at) or writer.complaint
    if error is not None:
        say(f"MLflow at {redact(tracking_uri)} cannot be written: {error}. The sweep's records are complete.")
    return summary_of(info, tracking_uri, writer, error=error)


def _write(writer: SweepWriter, backlog: Backlog, status: Status | None, ended_at: datetime | None) -> str | None:
    """Returns why it could not be done. What was taken is out of the backlog and not sent again."""
    for pause_s in (*_PAUSES_S, None):
        begin = time.monotonic()
        try:
            writer.open()
            writer.write(backlog)
            if status is not None:
                writer.finish(status, backlog, ended_at)
            return None
        except UnavailableError as failure:
            if pause_s is None or time.monotonic() - begin > _QUICK_S:
                return str(failure)
            writer.forget()
            time.sleep(pause_s)
        except ForbiddenError as failure:
            return str(failure)
        except Exception as failure:  # mlflow's own; the records are what counts
            return f"{type(failure).__name__}: {reason_of(failure)}"
    return None
