"""What happens in a sweep as JSON, one object a line, for programs: ``sweep --progress jsonl`` and ``resume``.

Every line of stderr that begins with ``{`` is one event (a library's own complaint, which nobody can foresee, begins
otherwise). Every event has ``event``, its name, and ``at``, when it happened (ISO 8601, UTC). There is no NaN and no
infinity: what is not known is null. Keys are never renamed, and more may come. Test scores are in ``ranked`` alone.

``plan``          ``name``, ``allocation`` (``equal``, ``race``), ``num_studies``, ``num_runs`` (of a race the most),
                  ``epochs_expected``, ``compute_s`` (estimated, of one run after another), ``storage``,
                  ``tracking_uri``, ``studies`` (``study``, ``task``, ``backbone``, ``num_runs``, ``compute_s``)
``resuming``      ``sweep``, ``path``, ``num_ended`` (runs), in place of ``plan``
``began``         ``sweep``, ``path``, ``studies`` (``study``, ``num_blocks``, ``kind``, ``modality``, ``num_train``,
                  ``num_val``, ``num_test``, ``num_classes``, ``metric``)
``slots``         ``num``: runs at a time
``raced``         ``task``, ``outcome`` (null while it goes on), ``running``, ``dropped`` (studies), ``granted``
                  (study -> trials)
``run_started``   ``study``, ``number``, ``phase``, ``attempt``, ``cause``, ``seed``, ``freeze_depth``, ``tune_stop``,
                  ``num_blocks``, ``train_frac``, ``max_epochs``, ``config``
``epoch``         ``study``, ``number``, ``epoch``, ``max_epochs``, ``val_score``, ``val_loss``, ``train_loss``,
                  ``train_s``, ``eval_s``
``run_finished``  ``study``, ``number``, ``phase``, ``state``, ``error``, ``epochs``, ``best_epoch``, ``metric``,
                  ``val_score``, ``freeze_depth``, ``learning_rate``, ``head_learning_rate``, ``train_frac``,
                  ``duration_s``, ``num_attempts``, ``num_ended``, ``num_runs``, ``left_s``
``said``          ``message``: a sentence for people
``ranked``        ``sweep``, ``ranking`` (as in ``--json``), ``sentences``, ``report``, ``links`` (by task)
``ended``         ``exit_code``, ``error`` (null where there is none): always the last one
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

from orchestrator.redaction import redact

__all__ = ["EventWriter"]


class EventWriter:
    """Writes events to a stream, from any thread, each in one piece."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, event: str, /, **values: Any) -> None:
        """One event, redacted, on a line of its own that is flushed."""
        cleaned = _clean(values)
        with self._lock:  # times never go back from one line to the next
            at = datetime.now(UTC).isoformat()
            self._stream.write(json.dumps({"event": event, "at": at, **cleaned}, allow_nan=False) + "\n")
            self._stream.flush()


def _clean(value: Any) -> Any:
    """`value` as JSON takes it: without what is no number, and without secrets."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else redact(str(value))
