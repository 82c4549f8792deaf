"""What all runs of a sweep have in common, and all of a backbone: names, colours and tags."""

from __future__ import annotations

from orchestrator.tracking import naming
from orchestrator.tracking.color import colors
from orchestrator.tracking.info import DatasetInfo, SweepInfo
from orchestrator.tracking.task_runs import TaskRuns

__all__ = ["Labels"]


class Labels:
    """Of one sweep."""

    def __init__(self, info: SweepInfo) -> None:
        self._short = naming.short_names(info.backbones)
        self._colors = colors(info.backbones)
        self._source = naming.source_tags(info)

    def short(self, backbone: str) -> str:
        """The name that has room in a table."""
        return self._short.get(backbone, backbone)

    def child_tags(self, task: TaskRuns, backbone: str, dataset: DatasetInfo | None) -> dict[str, str]:
        """Of every run below the sweep's own."""
        tags = dict(self._source)
        if task.parent is not None:
            tags["mlflow.parentRunId"] = task.parent.id
        if backbone in self._colors:
            tags["mlflow.runColor"] = self._colors[backbone]
        if dataset is not None:
            tags["modality"] = dataset.modality
        return tags
