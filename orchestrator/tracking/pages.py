"""A sweep's pages on an MLflow server that answers: which there are, and where each is."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import urllib.error
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import quote

from orchestrator.errors import EnvironmentUnusable, one_line, redact
from orchestrator.tracking import rest
from orchestrator.tracking.link import RANKING_VIEW, WORKFLOW, plain_link, view_key, view_links
from orchestrator.tracking.location import kind, sqlite_path
from orchestrator.tracking.naming import RUN_ID_TAG, SWEEP_ID_TAG, experiment_name, parent_run_id

__all__ = ["TaskPages", "is_mlflow", "pages_of", "same_store"]

_TIMEOUT_S: Final = 60.0
_QUICK_S: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPages:
    """Where one task's comparison is."""

    task: str
    views: Mapping[str, str]
    """Address of each saved view by name, in the menu's order, the ranking's only where there is one; empty where
    they show an `other` sweep or none were kept."""

    plain: str
    """The same runs by the address alone."""

    report: str | None
    """Where the sweep's own run shows its report; None before there is a ranking."""

    other: str | None = None
    """The later sweep on this task which the saved views show."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def pages_of(base: str, headers: Mapping[str, str], sweep_id: str, tasks: Sequence[str]) -> list[TaskPages]:
    """What a server has of a sweep, by task; tasks that it knows nothing of are left out.

    Args:
        base: the server's address.
        headers: what lets us in.

    Raises:
        EnvironmentUnusable: it does not answer, or not as MLflow does.
    """
    try:
        found = (_pages(base, headers, sweep_id, task) for task in tasks)
        return [pages for pages in found if pages is not None]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentUnusable(
            f"the MLflow server {redact(base)} must tell what it has, but: {one_line(redact(str(error)))}"
        ) from error


def is_mlflow(base: str) -> bool:
    """Whether what answers there is an MLflow server."""
    with contextlib.suppress(OSError, ValueError):
        address = f"{base}/api/2.0/mlflow/experiments/search?max_results=1"
        return isinstance(json.loads(rest.get(address, {}, timeout_s=_QUICK_S)), dict)
    return False


def same_store(base: str, uri: str, sweep_id: str, task: str) -> bool:
    """Whether a server shows the runs of the database at `uri`, and not a copy of them."""
    path = sqlite_path(uri) if kind(uri) == "sqlite" else None
    if path is None or not is_mlflow(base):
        return False
    query = "SELECT run_uuid FROM tags WHERE key = ? AND value = ?"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            ours = {str(row[0]) for row in database.execute(query, (RUN_ID_TAG, parent_run_id(sweep_id, task)))}
        experiment = _experiment(base, {}, task)
        if experiment is None:
            return False
        run = _parent(base, {}, experiment["experiment_id"], sweep_id, task)
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error):
        return False
    return run is not None and str(run["info"]["run_id"]) in ours


def _pages(base: str, headers: Mapping[str, str], sweep_id: str, task: str) -> TaskPages | None:
    experiment = _experiment(base, headers, task)
    if experiment is None:
        return None
    experiment_id = str(experiment["experiment_id"])
    run = _parent(base, headers, experiment_id, sweep_id, task)
    if run is None:
        return None
    tags = {tag["key"]: tag["value"] for tag in experiment.get("tags", ())}
    latest = tags.get(SWEEP_ID_TAG)
    links = view_links(base, experiment_id) if latest == sweep_id else {}
    ranked = any(metric["key"] == "best/score" for metric in run["data"].get("metrics", ()))
    page = f"{base}/#/experiments/{experiment_id}/runs/{run['info']['run_id']}/artifacts/report.html?{WORKFLOW}"
    return TaskPages(
        task=task,
        views={
            name: url
            for name, url in links.items()
            if f"mlflow.sharedViewState.{view_key(name)}" in tags and (ranked or name != RANKING_VIEW)
        },
        plain=plain_link(base, experiment_id, sweep_id=sweep_id, ranked=ranked),
        report=page if ranked else None,
        other=latest if latest != sweep_id else None,
    )


def _experiment(base: str, headers: Mapping[str, str], task: str) -> dict[str, Any] | None:
    name = quote(experiment_name(task), safe="")
    address = f"{base}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}"
    try:
        found: dict[str, Any] = json.loads(rest.get(address, headers, timeout_s=_TIMEOUT_S))["experiment"]
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise
    return found


def _parent(
    base: str, headers: Mapping[str, str], experiment_id: str, sweep_id: str, task: str
) -> dict[str, Any] | None:
    """The run that stands for the sweep."""
    question = {
        "experiment_ids": [experiment_id],
        "filter": f"tags.`{RUN_ID_TAG}` = '{parent_run_id(sweep_id, task)}'",
        "max_results": 1,
    }
    address = f"{base}/api/2.0/mlflow/runs/search"
    found: list[dict[str, Any]] = rest.post(address, headers, question, timeout_s=_TIMEOUT_S).get("runs", [])
    return found[0] if found else None
