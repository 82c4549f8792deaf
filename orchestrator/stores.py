"""Where a sweep's results and its MLflow records go, read from its configuration."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.config import SweepConfig
from orchestrator.errors import UsageError, redact
from orchestrator.redaction import hide

__all__ = ["shown_path", "storage_folder", "tracking_uri"]


def storage_folder(config: SweepConfig) -> Path:
    """The folder sweeps are kept in.

    Raises:
        UsageError: the storage is an object store, which this version does not write to.
    """
    if "://" in config.storage:
        raise UsageError(
            f"storage {redact(config.storage)!r} is an object store; this version needs a folder that every "
            "node sees, e.g. a network file system mounted at the same path"
        )
    return Path(config.storage).expanduser().resolve()


def tracking_uri(config: SweepConfig) -> str:
    """MLflow's address: the configured one, or a SQLite database in the storage folder.

    A password in it is shown nowhere from here on.
    """
    if config.tracking_uri != "auto":
        hide(config.tracking_uri)
        return config.tracking_uri
    return f"sqlite:///{storage_folder(config)}/mlflow.db"


def shown_path(path: Path) -> str:
    """From the working directory, where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive, on Windows
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)
