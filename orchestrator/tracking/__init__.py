"""MLflow as a view of the sweep's records: written by the driver alone, never in its way.

    tracker = Tracker(info, "sqlite:////data/sweeps/mlflow.db", say=print)
    tracker.start()                      # returns at once; MLflow is imported in a thread
    tracker.run_started(run); tracker.epoch(row); tracker.run_finished(trial, test)
    tracker.publish(Published(ranking=ranking, verdicts=verdicts, files=files))
    summary = tracker.close(timeout_s=30, status="FINISHED")

The records are the truth. What MLflow missed, `replay` writes from them later, through the same code and
as often as one likes: a run is found by its tag ``orchestrator.run_id`` and completed, never doubled.
Importing this package does not import mlflow.
"""

from orchestrator.tracking.backlog import Published, Recorded
from orchestrator.tracking.info import DatasetInfo, Status, SweepInfo, TrackingSummary
from orchestrator.tracking.link import Link
from orchestrator.tracking.measured import model_metrics, shown_pictures
from orchestrator.tracking.metric import best_metrics
from orchestrator.tracking.model_folder import write_model_folder
from orchestrator.tracking.model_info import ModelInfo
from orchestrator.tracking.preflight import Checked, check
from orchestrator.tracking.registry import Registered, add_to_registry
from orchestrator.tracking.replay import replay
from orchestrator.tracking.tracker import Tracker

__all__ = [
    "Checked",
    "DatasetInfo",
    "Link",
    "ModelInfo",
    "Published",
    "Recorded",
    "Registered",
    "Status",
    "SweepInfo",
    "Tracker",
    "TrackingSummary",
    "add_to_registry",
    "best_metrics",
    "check",
    "model_metrics",
    "replay",
    "shown_pictures",
    "write_model_folder",
]
