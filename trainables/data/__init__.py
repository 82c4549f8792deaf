"""Tasks: labelled data, decoded once, split once."""

from __future__ import annotations

from trainables.data.task import Metric, Split, Task, load_task

__all__ = ["Metric", "Split", "Task", "load_task"]
