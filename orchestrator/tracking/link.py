"""Deep links into MLflow's UI.

A bare link to an experiment opens an overview of something else, and with the default order the trials hide
under their folded parent. So every link names the comparison; a saved view adds columns, charts and order.
An address that also names a filter would keep the saved view from loading, hence the one or the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from orchestrator.tracking.location import kind, web_base

__all__ = [
    "CURVES_VIEW",
    "LOCAL",
    "RANKING_VIEW",
    "TABLE_VIEW",
    "TRIALS_VIEW",
    "VIEWS",
    "WORKFLOW",
    "Link",
    "link_to",
    "plain_link",
    "view_key",
    "view_links",
]

RANKING_VIEW: Final = "0 Ranking"
TRIALS_VIEW: Final = "1 All trials"
CURVES_VIEW: Final = "2 Mean curves by backbone"
TABLE_VIEW: Final = "3 Trials table"
VIEWS: Final = (RANKING_VIEW, TRIALS_VIEW, CURVES_VIEW, TABLE_VIEW)
"""The names of all that are shipped, in the menu's order."""

WORKFLOW: Final = "workflowType=machine_learning"
"""Without it MLflow shows its pages for language models around everything."""

LOCAL: Final = "http://127.0.0.1:5000"
"""Where ``python -m orchestrator ui`` serves a database, unless the port is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Where a person can see a task's runs."""

    url: str
    command: str | None = None
    """What to run first, where no server runs yet. It prints where the page really is."""

    def __str__(self) -> str:
        return self.command or self.url


def view_key(name: str) -> str:
    """What ``viewStateShareKey=`` in an address names; stable, so a view is rewritten and never doubled."""
    return hashlib.sha256(f"orchestrator/{name}".encode()).hexdigest()[:32]


def link_to(uri: str, experiment_id: str | None, *, sweep_id: str, ranked: bool, view_key: str | None = None) -> Link:
    """The ranking of a sweep, or while there is none its trials.

    Args:
        experiment_id: None links to the list of experiments.
        view_key: of the saved view; None filters and sorts by the address alone.
    """
    base = web_base(uri) if kind(uri) == "server" else LOCAL
    command = None if kind(uri) in ("server", "databricks") else f"python -m orchestrator ui {sweep_id}"
    if experiment_id is None:
        return Link(url=f"{base}/#/experiments", command=command)
    if view_key is not None:
        return Link(url=_view_link(base, experiment_id, view_key), command=command)
    return Link(url=plain_link(base, experiment_id, sweep_id=sweep_id, ranked=ranked), command=command)


def plain_link(base: str, experiment_id: str, *, sweep_id: str, ranked: bool) -> str:
    """The runs of one sweep by the address alone: it works where saved views do not."""
    role, metric = ("model", "adapt/score") if ranked else ("trial", "final/val_score")
    where = f"tags.`orchestrator.role` = '{role}' AND tags.`orchestrator.sweep_id` = '{sweep_id}'"
    order = quote(f"metrics.`{metric}`", safe="")
    page = f"{_page(base, experiment_id)}&compareRunsMode=CHART"
    return f"{page}&searchFilter={quote(where, safe='')}&orderByKey={order}&orderByAsc=false"


def view_links(base: str, experiment_id: str) -> dict[str, str]:
    """Every shipped view of a task's experiment by its name, in the menu's order."""
    return {
        name: _view_link(base, experiment_id, view_key(name), mode="TABLE" if name == TABLE_VIEW else "CHART")
        for name in VIEWS
    }


def _view_link(base: str, experiment_id: str, key: str, mode: str = "CHART") -> str:
    return f"{_page(base, experiment_id)}&compareRunsMode={mode}&viewStateShareKey={key}"


def _page(base: str, experiment_id: str) -> str:
    return f"{base}/#/experiments/{experiment_id}/runs?{WORKFLOW}"
