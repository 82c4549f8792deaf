"""MLflow's settings, made before its first import. What the user has set stays."""

from __future__ import annotations

import logging
import os
from typing import Final

__all__ = ["prepare", "quieten"]

_DEFAULTS: Final = {
    # A request whose answer was lost may have been carried out. MLflow's own retries send it again without
    # looking, which makes runs twice; ours look first. They would also hold a dead server's line for 247 s.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Nobody waits for an answer but our own thread, and a slow server that is cut short has to do it all again.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Or the lock file of whatever project lies in the working directory becomes part of a model.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_CHATTY: Final = ("alembic", "mlflow", "sqlalchemy", "urllib3")


def prepare() -> None:
    """Set what is not set."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def quieten() -> None:
    """Keep migrations and retries off stderr; after mlflow's import, which sets levels of its own."""
    if "MLFLOW_LOGGING_LEVEL" in os.environ:
        return
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
