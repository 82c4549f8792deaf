"""Where one run can be seen in MLflow, found without loading MLflow, which takes two seconds.

A SQLite database is asked as a file, a server by MLflow's REST interface. Whoever does not answer at once is not
waited for: then the link leads to the experiments, and the filter finds the run there.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.tracking import rest
from orchestrator.tracking.location import kind, sqlite_path, web_base
from orchestrator.tracking.naming import RUN_ID_TAG, experiment_name

__all__ = ["LOCAL", "RunLink", "run_link"]

LOCAL: Final = "http://127.0.0.1:5000"
"""Where ``python -m orchestrator ui`` serves a database."""

_TIMEOUT_S: Final = 2.0

_IN_DATABASE: Final = (
    "SELECT runs.experiment_id, runs.run_uuid FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid"
    " WHERE tags.key = ? AND tags.value = ? AND runs.lifecycle_stage = 'active'"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLink:
    """Where to look."""

    url: str
    is_found: bool
    """Whether `url` opens this very run; else the list of experiments, or of one's runs."""

    filter: str
    """What finds the run in MLflow's search box."""

    needs_server: bool
    """Whether somebody has to serve the database first."""


def run_link(uri: str, *, task: str, run_id: str) -> RunLink:
    """The link of a trial, a confirmation or a reduced run.

    Args:
        uri: where the sweep is tracked; a password in it is not shown.
        run_id: as `naming.child_run_id` makes it.
    """
    where = kind(uri)
    search = f"tags.`{RUN_ID_TAG}` = '{run_id}'"
    base = web_base(uri) if where == "server" else LOCAL
    experiment, run = _on_server(uri, task, search) if where == "server" else _in_database(uri, run_id)
    page = f"{base}/#/experiments"
    if experiment and run:
        page += f"/{experiment}/runs/{run}"
    elif experiment:
        # By a metric: in the order that is the default a run hides under its folded parent.
        order = f"&orderByKey={quote('metrics.`final/val_score`', safe='')}&orderByAsc=false"
        page += f"/{experiment}/runs?workflowType=machine_learning&searchFilter={quote(search, safe='')}{order}"
    return RunLink(url=page, is_found=bool(run), filter=search, needs_server=where in ("sqlite", "database"))


def _in_database(uri: str, run_id: str) -> tuple[str, str]:
    path = sqlite_path(uri) if kind(uri) == "sqlite" else None
    if path is None or not path.exists():
        return "", ""
    with contextlib.suppress(sqlite3.Error):  # of another version of MLflow, or being written just now
        return _asked(path, run_id)
    return "", ""


def _asked(path: Path, run_id: str) -> tuple[str, str]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as database:
        found = database.execute(_IN_DATABASE, (RUN_ID_TAG, run_id)).fetchone()
    return (str(found[0]), str(found[1])) if found else ("", "")


def _on_server(uri: str, task: str, search: str) -> tuple[str, str]:
    api, headers = f"{web_base(uri)}/api/2.0/mlflow", rest.credentials(uri)
    experiment = run = ""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        address = f"{api}/experiments/get-by-name?experiment_name={quote(experiment_name(task), safe='')}"
        found = json.loads(rest.get(address, headers, timeout_s=_TIMEOUT_S))
        experiment = str(found["experiment"]["experiment_id"])
        question = {"experiment_ids": [experiment], "filter": search, "max_results": 1}
        runs = rest.post(f"{api}/runs/search", headers, question, timeout_s=_TIMEOUT_S)["runs"]
        run = str(runs[0]["info"]["run_id"])
    return experiment, run
