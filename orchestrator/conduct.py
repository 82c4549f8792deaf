"""A sweep from its configuration to its published ranking."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.config import SweepConfig, resolved_yaml
from orchestrator.errors import UsageError, one_line, redact
from orchestrator.evaluated import read_evaluations
from orchestrator.folder import SweepFolder
from orchestrator.plan import Plan
from orchestrator.provenance import data_notes, datasets, new_facts, study_facts, sweep_info
from orchestrator.ranking import Ranking
from orchestrator.recorder import Listener
from orchestrator.results import one_thread, rank_sweep, verdict_texts, write_ranking
from orchestrator.sweep import StudyFacts, run_sweep
from orchestrator.tracking import Status, Tracker, TrackingSummary, model_metrics, replay

__all__ = ["Outcome", "conduct", "republish", "storage_folder", "tracking_uri"]

_FLUSH_S: Final = 60.0
"""Longest wait for MLflow at the end; what is left then is for ``report`` to write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a sweep leaves."""

    folder: SweepFolder
    ranking: Ranking
    tracking: TrackingSummary
    interrupted: bool = False


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
    """MLflow's address: the configured one, or a SQLite database in the storage folder."""
    if config.tracking_uri != "auto":
        return config.tracking_uri
    return f"sqlite:///{storage_folder(config)}/mlflow.db"


def conduct(
    config: SweepConfig,
    plan: Plan,
    *,
    address: str | None,
    listeners: Sequence[Listener],
    say: Callable[[str], None],
) -> Outcome:
    """Run, rank, write and publish. A Ctrl-C ends the trials and ranks what had finished.

    Args:
        address: of a Ray cluster; None starts a local Ray.
        listeners: beside MLflow's.
        say: is given sentences for the user.

    Raises:
        EnvironmentUnusable: something is missing. Nothing was trained, and no folder is left.
        KeyboardInterrupt: Ctrl-C before the first trial. No folder is left either.
    """
    uri = tracking_uri(config)
    folder = SweepFolder.create(storage_folder(config), config.name, resolved_yaml(config, redacted=True))
    facts = new_facts(config, plan, redact(uri))
    folder.write_facts(facts)
    tracker = Tracker(sweep_info(folder), uri, say=say)
    begun = False

    def begin(studies: list[StudyFacts]) -> None:
        """Nothing is missing: from here on there is a sweep. mlflow loads while workers start."""
        nonlocal begun
        begun = True
        say(f"results in {folder.path}")
        for line in data_notes(studies):
            say(line)
        folder.write_facts({**facts, "studies": study_facts(studies)})
        tracker.start()
        for dataset in datasets(folder, config):
            tracker.dataset(dataset)

    status: Status = "FAILED"
    try:
        # Ray prints what its daemons complain of to stdout, where nothing but results belongs.
        with contextlib.redirect_stdout(sys.stderr):
            run_sweep(config, plan, folder, address=address, listeners=[tracker, *listeners], on_facts=begin, say=say)
        status = "FINISHED"
    except KeyboardInterrupt:
        if not begun:
            say("interrupted before the first trial: nothing is kept")
            raise
        status = "KILLED"
        say("interrupted: ranking what had finished")
    finally:
        if not begun:
            folder.discard()
        elif status == "FAILED":
            tracker.close(timeout_s=5, status=status)
    ranking = rank_sweep(folder)
    more = model_metrics(read_evaluations(folder).values(), folder.screen.read())
    tracker.publish(ranking.table, verdict_texts(ranking), _artifacts(folder, ranking, say), more)
    summary = tracker.close(timeout_s=_FLUSH_S, status=status)
    return Outcome(folder=folder, ranking=ranking, tracking=summary, interrupted=status == "KILLED")


def republish(folder: SweepFolder, config: SweepConfig, uri: str, say: Callable[[str], None]) -> Outcome:
    """Rank a sweep's records again and bring MLflow up to date with them; doing it twice changes nothing."""
    ranking = rank_sweep(folder)
    trials, epochs, tests = folder.tables()
    evaluations = read_evaluations(folder)
    summary = replay(
        sweep_info(folder),
        uri,
        trials=trials,
        epochs=epochs,
        tests=tests,
        ranking=ranking.table,
        verdicts=verdict_texts(ranking),
        datasets=datasets(folder, config),
        files=_artifacts(folder, ranking, say),
        evaluations=evaluations,
        more=model_metrics(evaluations.values(), folder.screen.read()),
        say=say,
    )
    return Outcome(folder=folder, ranking=ranking, tracking=summary)


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
        say(f"report.html could not be written: {type(error).__name__}: {one_line(str(error))}")
        return {}
