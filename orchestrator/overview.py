"""What there is to say of a whole sweep in a line: whether it runs, how far it came, who leads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import OrchestratorError, one_line
from orchestrator.folder import FINISHED_AT, SweepFolder
from orchestrator.lease import holder_of
from orchestrator.progress import StudyProgress, study_progress
from orchestrator.records import RESUMED
from orchestrator.results import one_thread
from orchestrator.workers.request import study_key

__all__ = ["Overview", "State", "command_on", "overview", "ranked_places", "resume_command", "retried_runs"]

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
    except (OrchestratorError, OSError) as error:
        return Overview(sweep=sweep, path=path, state="damaged", detail=one_line(str(error)))
    except (KeyError, TypeError, AttributeError) as error:  # JSON of another shape than this program writes
        reason = f"{folder.path / 'sweep.json'} is not what this program writes: {error!r}"
        return Overview(sweep=sweep, path=path, state="damaged", detail=one_line(reason))


def resume_command(folder: SweepFolder) -> str:
    """What goes on with a sweep that was stopped, as it is typed here."""
    return command_on(folder, "resume")


def command_on(folder: SweepFolder, verb: str) -> str:
    """A command on this sweep, as it is typed here."""
    storage = folder.path.parent
    where = "" if storage == Path("sweeps").resolve() else f" --storage {shlex.quote(str(storage))}"
    return f"python -m orchestrator {verb} {folder.sweep_id}{where}"


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
    state, detail = _state(folder, facts, progress)
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


def _state(folder: SweepFolder, facts: Mapping[str, Any], progress: Sequence[StudyProgress]) -> tuple[State, str]:
    if (holder := holder_of(folder.lease_file)) is not None:
        return "running", str(holder)
    if facts.get(FINISHED_AT):
        return "finished", ""
    is_ours = "config" in facts  # which sweeps of an earlier version did not write down, nor that they had ended
    if not progress and not is_ours:
        return "unknown", "its sweep.json does not say what was planned"
    how = f"to go on: {resume_command(folder)}"
    if not progress or not all(one.is_complete for one in progress):
        return "interrupted", how
    return ("interrupted", f"all its runs have ended, and it was not ranked; {how}") if is_ours else ("finished", "")


def _leader(folder: SweepFolder) -> str:
    """Read from the ranking's file: computing it anew for every sweep would take too long."""
    leaders = (study.partition(":") for study, rank in ranked_places(folder).items() if rank == 1)
    return ", ".join(f"{backbone} ({task})" for task, _, backbone in leaders) or "-"


def ranked_places(folder: SweepFolder) -> dict[str, int | None]:
    """Study -> its place in the newest ranking that was written, None where it has none; empty before the first.

    Raises:
        OrchestratorError: the ranking's file is damaged.
    """
    file = folder.path / "ranking.json"
    if not file.exists():
        return {}
    try:
        ranking = json.loads(file.read_text(encoding="utf-8"))["ranking"]
        return {study_key(row["task"], row["backbone"]): row["rank"] for row in ranking}
    except (ValueError, KeyError, TypeError) as error:
        raise OrchestratorError(f"{file} is damaged; write it anew with: python -m orchestrator report") from error
