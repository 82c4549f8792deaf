"""What is known to be in MLflow about one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.tracking.metric import EPOCH_GROUPS
from orchestrator.tracking.naming import RUN_ID_TAG

__all__ = ["StoredRun", "stored_run"]


@dataclass(kw_only=True, slots=True)
class StoredRun:
    """What is known to be in MLflow about one run."""

    id: str
    run_id: str
    """Our own identity, the tag ``orchestrator.run_id``."""

    experiment_id: str
    status: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: dict[str, dict[int, float]] = field(default_factory=dict)
    """By metric and step, for the metrics that were looked up."""

    unread: set[str] = field(default_factory=set)
    """Metrics that have points which were not looked up."""

    inputs: set[str] = field(default_factory=set)
    """Names of the data it read."""

    is_whole: bool = True
    """Whether what is said of parameters, tags, points and inputs is so; without, they are empty."""

    def shed(self) -> None:
        """Keep the identity and the status alone: a sweep has more runs that ended than fit in memory."""
        for part in (self.params, self.tags, self.points, self.unread, self.inputs):
            part.clear()
        self.is_whole = False


def stored_run(run: Any, *, whole: bool) -> StoredRun:
    """A run as MLflow's client gives it; without `whole` its identity and status alone."""
    once = {k: {0: v} for k, v in run.data.metrics.items() if not k.startswith(EPOCH_GROUPS)}
    stored = StoredRun(
        id=run.info.run_id,
        run_id=run.data.tags.get(RUN_ID_TAG, ""),
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        points=once,
        unread={k for k in run.data.metrics if k.startswith(EPOCH_GROUPS)},
        inputs={data.dataset.name for data in run.inputs.dataset_inputs} if run.inputs else set(),
    )
    if not whole:
        stored.shed()
    return stored
