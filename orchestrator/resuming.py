"""Go on with a sweep that was stopped, however it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.conduct import Outcome, drive, resume_command
from orchestrator.folder import SweepFolder
from orchestrator.interrupt import ending_signals
from orchestrator.lease import Lease, lease
from orchestrator.planning.plan import Plan, plan
from orchestrator.provenance import code_changes, new_facts
from orchestrator.reopening import extend, reopen
from orchestrator.searching.ledger import require_sound
from orchestrator.stores import tracking_uri
from orchestrator.tracking import check

if TYPE_CHECKING:
    from orchestrator.display.board import Board

__all__ = ["go_on"]


def go_on(
    folder: SweepFolder,
    *,
    make_board: Callable[[Plan], Board],
    address: str | None,
    insecure: bool = False,
    uri: str | None = None,
    resources: Sequence[str] = (),
    extension: Sequence[str] | None = None,
) -> Outcome:
    """Run what has not ended of a sweep, and rank it.

    Trials that were under way keep their numbers, their MLflow runs and the epochs they had completed. Suggestions
    depend on a sweep's seed and on the trials before: they are what they would have been.

    Args:
        make_board: what shows the plan's progress.
        address, insecure: as `conduct` takes them.
        uri: of MLflow; None is the sweep's own.
        resources: overrides of ``resources.*`` for this time.
        extension: overrides that grant more budget, for good; see `extend`. None grants none.

    Raises:
        UsageError: another driver is at it, its file was changed, or the extension is none.
        EnvironmentUnusable: as `conduct`; also where the ledger is damaged, or data or backbones are others.
    """
    with ending_signals(lambda: resume_command(folder)), lease(folder.lease_file) as held:
        if extension is not None:
            extend(folder, extension)
        config = reopen(folder, resources)
        planned = plan(config)
        facts = folder.read_facts() or new_facts(config, planned, uri or tracking_uri(config))
        require_sound(folder.ledger_file, is_new=folder.attempts.read().num_rows == 0)  # before Ray takes its time
        tracked = uri or tracking_uri(config)
        checked = check(tracked, [task.name for task in config.tasks])
        board = make_board(planned)
        with board.shown():
            board.past(folder.trials.read().to_pylist())
            for sentence in [*_takeover(held), *code_changes(facts), *checked.warnings]:
                board.say(sentence)
            folder.write_facts({**facts, "resumed": [*facts.get("resumed", ()), _now(extension)]})
            return drive(
                config,
                planned,
                folder,
                held,
                uri=tracked,
                address=address,
                insecure=insecure,
                listeners=[board],
                watcher=board,
                say=board.say,
            )


def _takeover(held: Lease) -> list[str]:
    return [] if held.taken_from is None else [f"taken over from {held.taken_from}, which is gone"]


def _now(extension: Sequence[str] | None) -> dict[str, Any]:
    return {"at": datetime.now(UTC).isoformat(), "extension": list(extension or ())}
