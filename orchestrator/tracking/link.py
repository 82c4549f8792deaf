"""Deep links into MLflow's UI.

A bare link to an experiment opens an overview of something else, and with the default order the trials hide
under their folded parent. So every link names the comparison; a saved view adds columns, charts and order.
An address that also names a filter would keep the saved view from loading, hence the one or the other.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from orchestrator.errors import redact
from orchestrator.tracking.location import kind, web_base

__all__ = ["Link", "link_to"]

_LOCAL: Final = "http://127.0.0.1:5000"


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Where a person can see a task's runs."""

    url: str
    command: str | None = None
    """What to run first, where no server runs yet."""

    def __str__(self) -> str:
        return f"{self.command}\n{self.url}" if self.command else self.url


def link_to(uri: str, experiment_id: str | None, *, sweep_id: str, ranked: bool, view_key: str | None = None) -> Link:
    """The ranking of a sweep, or while there is none its trials.

    Args:
        experiment_id: None links to the list of experiments.
        view_key: of the saved view; None filters and sorts by the address alone.
    """
    base = web_base(uri) if kind(uri) == "server" else _LOCAL
    command = None if kind(uri) in ("server", "databricks") else _server_command(uri)
    if experiment_id is None:
        return Link(url=f"{base}/#/experiments", command=command)
    page = f"{base}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
    if view_key is not None:
        return Link(url=f"{page}&viewStateShareKey={view_key}", command=command)
    role, metric = ("model", "adapt/score") if ranked else ("trial", "final/val_score")
    where = f"tags.`orchestrator.role` = '{role}' AND tags.`orchestrator.sweep_id` = '{sweep_id}'"
    order = quote(f"metrics.`{metric}`", safe="")
    url = f"{page}&searchFilter={quote(where, safe='')}&orderByKey={order}&orderByAsc=false"
    return Link(url=url, command=command)


def _server_command(uri: str) -> str:
    """A server that this machine alone can reach, that no other page in a browser can use, and that runs nothing."""
    names = ("127.0.0.1:5000", "localhost:5000")
    origins = ",".join(f"http://{name}" for name in names)
    store = shlex.quote(uri) if redact(uri) == uri else '"$MLFLOW_BACKEND_STORE_URI"'  # it holds a password
    return (
        f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false python -m mlflow server --backend-store-uri {store}"
        f" --host 127.0.0.1 --port 5000 --workers 1 --allowed-hosts {','.join(names)} --cors-allowed-origins {origins}"
    )
