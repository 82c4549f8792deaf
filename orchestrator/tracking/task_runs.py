"""The runs of one sweep in one task's experiment, as MLflow holds them."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.tracking.naming import parent_run_id
from orchestrator.tracking.store import Store, StoredRun

__all__ = ["TaskRuns"]


@dataclass(kw_only=True, slots=True)
class TaskRuns:
    """As last seen."""

    name: str
    sweep_id: str
    experiment_id: str
    tags: dict[str, str]
    """Of the experiment."""

    runs: dict[str, StoredRun] = field(default_factory=dict)
    """By our own identity."""

    spare: list[StoredRun] = field(default_factory=list)
    """Second runs of one identity, left by a call that was repeated because its answer was lost."""

    @property
    def parent(self) -> StoredRun | None:
        """The run that stands for the sweep."""
        return self.runs.get(parent_run_id(self.sweep_id, self.name))

    def known(self, store: Store, run_id: str) -> StoredRun | None:
        """A run with all that MLflow holds of it; None where there is none."""
        if run_id in self.runs and not self.runs[run_id].is_whole:
            self.look(store)
        return self.runs.get(run_id)

    def look(self, store: Store, *, whole: bool = True) -> None:
        """Read the list anew. Of two runs with one identity, the one already written to is kept, else the
        older one. `whole` takes in what the runs hold beside their status."""
        mine = {run_id: run.id for run_id, run in self.runs.items()}
        self.runs, self.spare = {}, []
        for run in store.runs(self.experiment_id, self.sweep_id, whole=whole):
            if run.run_id in self.runs or mine.get(run.run_id, run.id) != run.id:
                self.spare.append(run)
            else:
                self.runs[run.run_id] = run
