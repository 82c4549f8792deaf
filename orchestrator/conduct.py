"""A sweep from its configuration to its published ranking."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator.config import SweepConfig, resolved_yaml
from orchestrator.errors import one_line, redact
from orchestrator.folder import FINISHED_AT, SweepFolder
from orchestrator.guard import LowWater, require_lease
from orchestrator.interrupt import Interrupted, ending_signals
from orchestrator.lease import Lease, lease
from orchestrator.models.kept import model_infos, remove_superseded_models
from orchestrator.overview import State, overview, resume_command
from orchestrator.planning.plan import Plan
from orchestrator.provenance import data_notes, datasets, new_facts, require_same, study_facts, sweep_info
from orchestrator.ranking import Ranking, superseded
from orchestrator.recorder import Listener
from orchestrator.results import counted_evaluations, one_thread, rank_sweep, verdict_texts, write_ranking
from orchestrator.stores import storage_folder, tracking_uri
from orchestrator.sweep import StudyFacts, run_sweep
from orchestrator.tracking import (
    Published,
    Recorded,
    Status,
    Tracker,
    TrackingSummary,
    best_metrics,
    model_metrics,
    replay,
    shown_pictures,
)
from orchestrator.watcher import Watcher

__all__ = ["Outcome", "conduct", "drive", "republish", "resume_command", "storage_folder", "tracking_uri"]

_FLUSH_S: Final = 60.0
"""Longest wait for MLflow at the end; what is left then is for ``report`` to write."""

_HASTY_FLUSH_S: Final = 4.0
"""The same of a sweep that was stopped: its user, or the machine's owner, wants the process gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a sweep leaves."""

    folder: SweepFolder
    ranking: Ranking
    tracking: TrackingSummary
    interrupted: Interrupted | None = None
    """The signal that ended it before its end."""


def conduct(
    config: SweepConfig,
    plan: Plan,
    *,
    address: str | None,
    insecure: bool = False,
    listeners: Sequence[Listener],
    watcher: Watcher | None = None,
    say: Callable[[str], None],
) -> Outcome:
    """Run, rank, write and publish. A signal ends the trials and ranks what had finished.

    Args:
        address: of a Ray cluster; None starts a local Ray.
        insecure: whether a cluster may be one that lets anybody in.
        listeners: beside MLflow's.
        watcher: is told where the sweep stands.
        say: is given sentences for the user.

    Raises:
        EnvironmentUnusable: something is missing. Nothing was trained, and no folder is left. Or something
            went missing: what was recorded stays, and `say` was told what goes on with the sweep.
        KeyboardInterrupt: Ctrl-C before the first trial. No folder is left either.
    """
    uri = tracking_uri(config)
    folder = SweepFolder.create(storage_folder(config), config.name, resolved_yaml(config, redacted=True))
    folder.write_facts(new_facts(config, plan, uri))
    with ending_signals(lambda: resume_command(folder)), lease(folder.lease_file) as held:
        return drive(
            config,
            plan,
            folder,
            held,
            uri=uri,
            address=address,
            insecure=insecure,
            listeners=listeners,
            watcher=watcher,
            say=say,
        )


def drive(
    config: SweepConfig,
    plan: Plan,
    folder: SweepFolder,
    held: Lease,
    *,
    uri: str,
    address: str | None,
    insecure: bool = False,
    listeners: Sequence[Listener],
    watcher: Watcher | None = None,
    say: Callable[[str], None],
) -> Outcome:
    """Run what has not ended of a sweep, and publish it. Raises as `conduct`.

    Args:
        held: the sweep's lease.
        uri: of MLflow.
    """
    facts = folder.read_facts()
    tracker = Tracker(sweep_info(folder), uri, say=say)
    begun = is_resumed = bool(facts["studies"])

    def begin(studies: list[StudyFacts]) -> None:
        """Nothing is missing: from here on there is a sweep. mlflow loads while workers start."""
        nonlocal begun
        found = study_facts(studies)
        require_same(facts["studies"], found)
        begun = True
        say(f"results in {folder.path}")
        (watcher or Watcher()).began(folder, studies)
        for line in data_notes(studies):
            say(line)
        folder.write_facts({**facts, "studies": found})
        tracker.start()
        for dataset in datasets(folder, config):
            tracker.dataset(dataset)
        if is_resumed:
            tracker.catch_up(Recorded.of(folder))

    interrupted: Interrupted | None = None
    try:
        # Ray prints what its daemons complain of to stdout, where nothing but results belongs.
        with contextlib.redirect_stdout(sys.stderr):
            run_sweep(
                config,
                plan,
                folder,
                address=address,
                insecure=insecure,
                listeners=[tracker, *listeners],
                on_facts=begin,
                watcher=watcher,
                checks=[lambda: require_lease(held), LowWater(folder.path)],
                say=say,
            )
    except Interrupted as signal:
        if not begun:
            say("interrupted before the first trial: nothing is kept")
            folder.discard()
            raise
        interrupted = signal
        say("interrupted: ranking what had finished")
    except BaseException:
        if begun:
            _leave(folder, tracker, say)
        else:
            folder.discard()
        raise
    try:
        return _publish(folder, tracker, interrupted, say)
    except BaseException:
        _leave(folder, tracker, say)
        raise


def _leave(folder: SweepFolder, tracker: Tracker, say: Callable[[str], None]) -> None:
    """Stop before the end."""
    tracker.close(timeout_s=_HASTY_FLUSH_S, status="KILLED")
    say(f"nothing recorded is lost; to go on: {resume_command(folder)}")


def _publish(
    folder: SweepFolder, tracker: Tracker, interrupted: Interrupted | None, say: Callable[[str], None]
) -> Outcome:
    """Rank what has ended, and tell MLflow. Of a sweep that was not interrupted that is its end."""
    ranking = rank_sweep(folder)
    # Who interrupts a sweep waits: the page is for `report`, or for the sweep's end.
    files = write_ranking(folder, ranking) if interrupted else _artifacts(folder, ranking, say)
    tracker.publish(_published(folder, ranking, files, is_interim=interrupted is not None))
    if interrupted is not None:
        summary = tracker.close(timeout_s=_HASTY_FLUSH_S, status="KILLED")
    else:
        summary = tracker.close(timeout_s=_FLUSH_S, status="FINISHED")
        folder.clear_checkpoints()
        remove_superseded_models(folder)
        folder.write_facts({**folder.read_facts(), FINISHED_AT: datetime.now(UTC).isoformat()})
    return Outcome(folder=folder, ranking=ranking, tracking=summary, interrupted=interrupted)


def republish(folder: SweepFolder, config: SweepConfig, uri: str, say: Callable[[str], None]) -> Outcome:
    """Rank a sweep's records again and bring MLflow up to date with them; doing it twice changes nothing."""
    ranking = rank_sweep(folder)
    summary = replay(
        sweep_info(folder),
        uri,
        Recorded.of(folder),
        _published(folder, ranking, _artifacts(folder, ranking, say)),
        datasets=datasets(folder, config),
        status=_status(folder),
        say=say,
    )
    return Outcome(folder=folder, ranking=ranking, tracking=summary)


def _published(folder: SweepFolder, ranking: Ranking, files: dict[str, Path], *, is_interim: bool = False) -> Published:
    """What MLflow is told of a ranking."""
    trials = folder.trials.read()
    with one_thread():
        out = superseded(trials)
    counted = counted_evaluations(folder)
    return Published(
        ranking=ranking.table,
        verdicts=verdict_texts(ranking),
        files=files,
        more=model_metrics(counted, folder.screen.read()),
        pictures=shown_pictures(counted),
        best=best_metrics(trials.to_pylist()),
        models={} if is_interim else model_infos(folder, ranking.table),
        superseded=out,
        is_interim=is_interim,
    )


def _status(folder: SweepFolder) -> Status | None:
    """Of a sweep that nobody drives any more nothing is left RUNNING in MLflow; None of one under way."""
    states: dict[State, Status | None] = {"running": None, "interrupted": "KILLED"}
    return states.get(overview(folder).state, "FINISHED")


def _artifacts(folder: SweepFolder, ranking: Ranking, say: Callable[[str], None]) -> dict[str, Path]:
    """Files for the parent run, by their place there."""
    return {
        **write_ranking(folder, ranking),
        **_report(folder, ranking, say),
        "config/resolved.yaml": folder.config_file,
        "config/env.json": folder.path / "sweep.json",
    }


def _report(folder: SweepFolder, ranking: Ranking, say: Callable[[str], None]) -> dict[str, Path]:
    """The page for people. It is made of what is on disk already: where it fails, nothing else does."""
    from orchestrator.importance import importances
    from orchestrator.report import write_report

    try:
        with one_thread():
            return {"report.html": write_report(folder, ranking, importances=importances(folder.trials.read()))}
    except Exception as error:
        logging.getLogger(__name__).debug("report.html", exc_info=True)
        say(f"report.html could not be written: {type(error).__name__}: {one_line(redact(str(error)))}")
        return {}
