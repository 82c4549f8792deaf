"""Tasks: labelled data, encoded once, split once."""

from __future__ import annotations

from trainables.data.task import Split, Task, load_task

__all__ = ["Split", "Task", "load_task"]
