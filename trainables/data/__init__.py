"""Tasks: labelled data, encoded once, split once.

What is here is imported when it is asked for: a plan asks `cache` for its limit, and needs no torch for that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.data.task import Split, Task, load_task

__all__ = ["Split", "Task", "load_task"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("trainables.data.task"), name)
