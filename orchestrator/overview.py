"""What there is to say of a whole sweep in a line: whether it runs, how far it came, who leads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import OrchestratorError, one_line
from orchestrator.folder import SweepFolder
from orchestrator.lease import holder_of
from orchestrator.progress import study_progress
from orchestrator.records import RESUMED
from orchestrator.results import one_thread

__all__ = ["Overview", "State", "overview", "retried_runs"]

State = Literal["running", "interrupted", "finished", "unknown", "damaged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """One line of ``ls``. Numbers are of all studies together, and None where they cannot be read."""

    sweep: str
    path: str
    state: State
    detail: str
    """Who runs it, how to go on, what is damaged; empty where there is nothing to say."""
    runs: int | None = None
    """That ended, however they did."""
    planned: int | None = None
    """None where the folder does not say."""
    failed: int | None = None
    retried: int | None = None
    """Runs that a worker began again because the one before it had failed."""
    leader: str = "-"
    """By the newest ranking."""
    created: str = "-"
    """ISO 8601."""

    def document(self) -> dict[str, Any]:
        """As one JSON document."""
        return asdict(self)


def overview(folder: SweepFolder) -> Overview:
    """Whatever the folder's state; files that cannot be read make it ``damaged``."""
    sweep, path = folder.sweep_id, str(folder.path)
    try:
        with one_thread():
            return _overview(folder, sweep, path)
    except (OrchestratorError, ValueError, KeyError, TypeError, OSError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        return Overview(sweep=sweep, path=path, state="damaged", detail=one_line(reason))


def retried_runs(attempts: pa.Table) -> frozenset[tuple[str, int]]:
    """Study and number of the runs that a worker began again because the one before it had failed.

    Args:
        attempts: columns of ATTEMPTS.
    """
    again = attempts.filter(pc.fill_null(pc.not_equal(attempts["cause"], RESUMED), False))
    return frozenset(zip(again["study"].to_pylist(), again["number"].to_pylist(), strict=True))


def _overview(folder: SweepFolder, sweep: str, path: str) -> Overview:
    facts, trials = folder.read_facts(), folder.trials.read()
    states = trials["state"].to_pylist()
    progress = study_progress(facts, trials)
    state, detail = _state(folder, is_known=bool(progress), is_complete=all(one.is_complete for one in progress))
    return Overview(
        sweep=sweep,
        path=path,
        state=state,
        detail=detail,
        runs=len(states),
        planned=sum(one.num_planned for one in progress) or None,
        failed=states.count("failed"),
        retried=len(retried_runs(folder.attempts.read())),
        leader=_leader(folder),
        created=facts.get("created_at", "-"),
    )


def _state(folder: SweepFolder, *, is_known: bool, is_complete: bool) -> tuple[State, str]:
    if (holder := holder_of(folder.lease_file)) is not None:
        return "running", str(holder)
    if not is_known:
        return "unknown", "its sweep.json does not say what was planned"
    if is_complete:
        return "finished", ""
    return "interrupted", f"resume with: python -m orchestrator resume {folder.sweep_id}"


def _leader(folder: SweepFolder) -> str:
    """Read from the ranking's file: computing it anew for every sweep would take too long."""
    file = folder.path / "ranking.json"
    ranking = json.loads(file.read_text(encoding="utf-8"))["ranking"] if file.exists() else []
    return ", ".join(f"{row['backbone']} ({row['task']})" for row in ranking if row["rank"] == 1) or "-"
