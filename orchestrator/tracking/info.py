"""What the caller tells about a sweep and its data, and what it is told at the end. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from orchestrator.tracking.link import Link

__all__ = ["DatasetInfo", "Status", "SweepInfo", "TrackingSummary"]

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepInfo:
    """What is known when the sweep starts."""

    sweep_id: str
    """Unique; names the parent run and leads every run's identity."""

    name: str
    version: str
    """Of this package."""

    config_yaml: str
    """The resolved sweep file; logged redacted."""

    created_at: datetime
    """In UTC."""

    tasks: tuple[str, ...]
    backbones: tuple[str, ...]
    """In the sweep's order, which gives each its colour."""

    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    """Parameters of the parent run, named ``search.*`` and ``budget.*``."""

    git_commit: str | None = None
    git_dirty: bool = False
    source_name: str = "orchestrator"
    user: str = ""

    folder: Path | None = None
    """Where the sweep's files are, tracebacks among them; None shows none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """The data of one task, as its runs saw it."""

    task: str
    name: str
    digest: str
    """Of the content; MLflow keeps the first 36 characters."""

    source: str
    """Path, URL or package the data came from."""

    num_train: int
    num_val: int
    num_test: int
    num_classes: int
    """Classes, labels or regression targets."""

    metric: str
    """The task's main metric: ``accuracy``, ``f1_macro`` or ``r2``."""

    kind: str = "classification"
    modality: str = "image"

    chance: float | None = None
    """The metric's value for the best constant answer."""

    sizes: Mapping[str, int | float] = field(default_factory=dict)
    """What samples are resized or cut to, by field of the task; empty where each checkpoint has its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingSummary:
    """What became of the MLflow side of a sweep."""

    runs_written: int
    """Trials and confirmations that MLflow now holds to the end, counted since this writer began."""

    complete: bool
    """Whether everything handed over was written. If not, `replay` writes the rest."""

    error: str | None = None
    """Why it is not complete, redacted; None when it is."""

    links: Mapping[str, Link] = field(default_factory=dict)
    """Where to look, by task."""
