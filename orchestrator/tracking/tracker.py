"""The live side: a queue and one thread, so that MLflow may be slow or down at no cost to the sweep."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.errors import redact
from orchestrator.evaluated import Evaluated
from orchestrator.records import OF_EXAMPLES
from orchestrator.tracking.backlog import Backlog, Epoch, Event, Finished, Published, Recorded, Started
from orchestrator.tracking.failure import ForbiddenError, UnavailableError, reason_of
from orchestrator.tracking.info import DatasetInfo, Status, SweepInfo, TrackingSummary
from orchestrator.tracking.link import RANKING_VIEW, TRIALS_VIEW, Link, link_to, view_key
from orchestrator.tracking.store import Store
from orchestrator.tracking.writer import SweepWriter

__all__ = ["Tracker", "links_of", "summary_of"]

_LOG: Final = logging.getLogger(__name__)
_BATCH_S: Final = 1.0
"""How long events gather before they are sent together."""

_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0
_QUICK_S: Final = 10.0
"""A call that fails after more than this is no passing fault."""

_LAST_TRIES: Final = 3
"""Failures in a row after which closing does not try again; those before it count."""

_MAX_EVENTS: Final = 200_000
"""What an outage, or a server that is too slow, may pile up, about 200 MB; beyond it `replay` has to do the work."""

_TOO_MUCH: Final = f"more than {_MAX_EVENTS} events wait for it, and no more are kept"


@dataclass(frozen=True, slots=True)
class _Close:
    status: Status


class Tracker:
    """Hands a sweep's events to a thread that writes them to MLflow.

    No method but `close` waits, and none raises because of MLflow. When MLflow fails it is said once; the
    thread tries again after growing pauses and then writes what has gathered meanwhile. Being refused
    (401, 403) ends it for good.

    A sweep that is resumed gets a new tracker: runs that MLflow has are found and opened again, `catch_up`
    brings what the driver before could not send, and what is told twice is written once.

    Args:
        say: called at most once, mostly from the thread.
        artifact_location: of experiments this creates; None is the server's, or a folder beside the database.
    """

    def __init__(
        self,
        info: SweepInfo,
        tracking_uri: str,
        *,
        say: Callable[[str], None],
        artifact_location: str | None = None,
    ) -> None:
        self._info = info
        self._uri = tracking_uri
        self._say = say
        self._queue: queue.SimpleQueue[Event | _Close] = queue.SimpleQueue()
        self._out_of_time = threading.Event()
        store = Store(tracking_uri, artifact_location=artifact_location, stopped=self._out_of_time.is_set)
        self._writer = SweepWriter(info, store, live=True)
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._over = False
        self._is_full = False
        self._unsaid = threading.Lock()
        self._error: str | None = None

    def start(self) -> None:
        """Start the thread, which imports mlflow and connects."""
        self._thread.start()

    def run_started(self, run: Mapping[str, Any]) -> None:
        """A run was handed to a worker, for the first time or again after a resume.

        Args:
            run: study, number, phase, task, backbone, config (the fields of its FinetuneConfig), num_blocks,
                freeze_frac; where known also started_at, node and device; attempt, of an int >= 1, and cause,
                why it was handed out again.
        """
        self._put(Started(dict(run)))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """A run completed an epoch: an EPOCHS row."""
        self._put(Epoch(dict(row)))

    def run_finished(
        self, trial: Mapping[str, Any], test: Mapping[str, Any] | None, evaluated: Evaluated | None = None
    ) -> None:
        """A run ended: its TRIALS row, its TESTS row where there is one, and what else was measured of it."""
        self._put(Finished(dict(trial), None if test is None else _without_examples(test), evaluated))

    def dataset(self, info: DatasetInfo) -> None:
        """A task's data is known. Best told before the first run starts."""
        self._put(info)

    def publish(self, publication: Published) -> None:
        """There is a ranking."""
        self._put(publication)

    def catch_up(self, recorded: Recorded) -> None:
        """The sweep was resumed: the runs that ended under the drivers before, as their records have them."""
        self._put(recorded)

    def link(self, task: str) -> Link:
        """Where a task's runs can be seen. A saved view where it could be written, else a filter."""
        return _link(self._info, self._uri, self._writer, task)

    def close(self, *, timeout_s: float, status: Status) -> TrackingSummary:
        """Write what is left, mark unfinished runs KILLED and the sweep `status`, within `timeout_s`."""
        if self._thread.ident is not None:
            self._queue.put(_Close(status))
            self._thread.join(timeout_s)
            self._out_of_time.set()
            if self._thread.is_alive():
                self._fail(f"it did not take everything within {timeout_s:g} s")
        self._over = True
        return summary_of(self._info, self._uri, self._writer, error=self._error)

    def _put(self, event: Event) -> None:
        if self._queue.qsize() >= _MAX_EVENTS:
            self._over = self._is_full = True
            self._fail(_TOO_MUCH)
        if not self._over:
            self._queue.put(event)

    def _work(self) -> None:
        try:
            self._loop()
        except Exception as error:  # ours or mlflow's: either way the sweep goes on
            _LOG.debug("tracking ended", exc_info=True)
            self._fail(f"{type(error).__name__}: {reason_of(error)}")
        self._over = True
        while not self._queue.empty():
            self._queue.get()

    def _loop(self) -> None:
        backlog = Backlog()
        closing: _Close | None = None
        num_failures = 0
        pause_s = 0.0  # the first thing is to connect
        while True:
            if closing is None:
                closing = self._gather(backlog, pause_s, is_well=pause_s > 0 and not num_failures)
            begin = time.monotonic()
            try:
                self._writer.open()
                self._writer.write(backlog)
                if closing is not None:
                    self._writer.finish(closing.status, backlog)
            except UnavailableError as error:
                self._writer.forget()
                num_failures += 1
                pause_s = _pause_s(num_failures)
                self._error = str(error)
                # What heals at once is nobody's business, and a fault at the very end is given time to.
                if num_failures > 1 or time.monotonic() - begin > _QUICK_S:
                    self._fail(str(error))
                if backlog.num_events > _MAX_EVENTS:
                    self._fail(_TOO_MUCH)
                    return
                if closing is not None and (num_failures > _LAST_TRIES or self._out_of_time.wait(_last_pause_s())):
                    self._fail(str(error))
                    return
            except ForbiddenError as error:
                self._fail(str(error))
                return
            else:
                self._error = None
                if closing is not None:
                    break
                num_failures = 0
                pause_s = _BATCH_S
        if self._error is None and self._is_full:
            self._fail(_TOO_MUCH)
        elif self._error is None and self._writer.complaint is not None:
            self._fail(self._writer.complaint)

    def _gather(self, backlog: Backlog, pause_s: float, *, is_well: bool) -> _Close | None:
        """Take events in for `pause_s`, or until closing. Where all is well and written, wait for the first."""
        until = time.monotonic() + pause_s
        while True:
            left = until - time.monotonic()
            try:
                if is_well and not backlog:
                    event = self._queue.get()
                    until = time.monotonic() + pause_s
                else:
                    event = self._queue.get(timeout=max(left, 0))
            except queue.Empty:
                return None
            if isinstance(event, _Close):
                return event
            backlog.add(event)

    def _fail(self, reason: str) -> None:
        self._error = reason
        if self._unsaid.acquire(blocking=False):  # and never released: once is enough
            self._say(
                f"MLflow at {redact(self._uri)} cannot be written: {reason}. The sweep goes on and its"
                f" records are complete; `python -m orchestrator report {self._info.sweep_id}` writes what"
                " MLflow lacks."
            )


def _pause_s(num_failures: int) -> float:
    """Before the next try. Drivers that found one database locked shall not all come back at once."""
    longest = min(_FIRST_PAUSE_S * 2.0 ** min(num_failures - 1, 10), _LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1)


def _last_pause_s() -> float:
    """The same while somebody waits for the end."""
    return random.uniform(0.5, 1.5)


def _without_examples(test: Mapping[str, Any]) -> dict[str, Any]:
    """A TESTS row without what it says of each example, which MLflow is not told."""
    return {name: value for name, value in test.items() if name not in OF_EXAMPLES}


def summary_of(info: SweepInfo, uri: str, writer: SweepWriter, *, error: str | None) -> TrackingSummary:
    """What a writer achieved."""
    return TrackingSummary(
        runs_written=len(writer.written),
        complete=error is None,
        error=error,
        links=links_of(info, uri, writer),
    )


def links_of(info: SweepInfo, uri: str, writer: SweepWriter) -> dict[str, Link]:
    """By task, in the sweep's order."""
    return {task: _link(info, uri, writer, task) for task in info.tasks}


def _link(info: SweepInfo, uri: str, writer: SweepWriter, task: str) -> Link:
    ranked = task in writer.ranked
    view = RANKING_VIEW if ranked else TRIALS_VIEW
    return link_to(
        uri,
        writer.experiments.get(task),
        sweep_id=info.sweep_id,
        ranked=ranked,
        view_key=view_key(view) if task in writer.viewed else None,
    )
