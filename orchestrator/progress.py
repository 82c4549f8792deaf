"""How far a sweep came, from what its folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ranking import Planned
from orchestrator.ranking.confirmed import confirmed, was_extended
from orchestrator.ranking.runs import REPEATS, Runs
from orchestrator.ranking.study import read_runs
from orchestrator.searching.allocation import Race, replay

__all__ = ["StudyProgress", "planned_runs", "races", "study_progress"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyProgress:
    """Runs of one study that have ended, however they did, and that were planned."""

    study: str
    num_ended: int
    """Without those of a configuration that is no longer the chosen one."""
    num_planned: int
    """In a race an equal share of the most there can be, and once it has ended what it came to."""
    is_complete: bool
    """Whether nothing is left to run."""


def planned_runs(facts: Mapping[str, Any]) -> dict[str, Planned]:
    """Study -> the runs it was to have; empty for a sweep whose facts do not say.

    Args:
        facts: what `sweep.json` holds.
    """
    settings = facts.get("settings", {})
    if not {"budget.trials", "budget.confirmations", "budget.train_fracs"} <= settings.keys():
        return {}
    confirmations = settings["budget.confirmations"]
    num_fracs = len([frac for frac in settings["budget.train_fracs"].split(", ") if frac != "none"])
    is_race = settings.get("budget.allocation") == "race"
    plan = Planned(
        trials=None if is_race else settings["budget.trials"],
        confirmations=confirmations,
        reduced=confirmations * num_fracs,
    )
    return {study["study"]: plan for study in facts.get("studies", ())}


def races(facts: Mapping[str, Any], trials: pa.Table) -> dict[str, Race]:
    """Task -> its race as far as it went; empty for a sweep that was none.

    Args:
        facts: what `sweep.json` holds.
        trials: columns of TRIALS.
    """
    settings = facts.get("settings", {})
    if settings.get("budget.allocation") != "race":
        return {}
    by_task: dict[str, list[str]] = {}
    for study in facts["studies"]:
        by_task.setdefault(study["study"].partition(":")[0], []).append(study["study"])
    return {
        task: replay(
            trials,
            studies,
            random_trials=settings["search.random_trials"],
            num_trials=settings["budget.trials"],
            seed=settings["search.seed"],
        )
        for task, studies in by_task.items()
    }


def study_progress(facts: Mapping[str, Any], trials: pa.Table) -> list[StudyProgress]:
    """Of every study, in the plan's order; empty for a sweep whose facts do not say what was planned.

    Args:
        facts: what `sweep.json` holds.
        trials: columns of TRIALS.

    Raises:
        InvalidTable: the table contradicts itself.
    """
    raced = races(facts, trials)
    found = []
    for study, plan in planned_runs(facts).items():
        runs = read_runs(trials.filter(pc.field("study") == study))
        race = raced.get(study.partition(":")[0])
        found.append(_in_race(study, plan, runs, race) if race is not None else _of_study(study, plan, runs))
    return found


def _of_study(study: str, plan: Planned, runs: Runs) -> StudyProgress:
    assert plan.trials is not None  # of a race alone
    num_searched = len(runs.search)
    is_searched = num_searched >= plan.trials
    return _progress(study, plan, runs, is_searched=is_searched, num_trials=max(plan.trials, num_searched))


def _in_race(study: str, plan: Planned, runs: Runs, race: Race) -> StudyProgress:
    num_searched = len(runs.search)
    if study in race.dropped or race.outcome == "failed":
        return StudyProgress(study=study, num_ended=len(runs), num_planned=len(runs), is_complete=True)
    is_over = race.outcome is not None
    num_trials = num_searched if is_over else max(race.total // len(race.studies), num_searched)
    return _progress(study, plan, runs, is_searched=is_over, num_trials=num_trials)


def _progress(study: str, plan: Planned, runs: Runs, *, is_searched: bool, num_trials: int) -> StudyProgress:
    num_searched = len(runs.search)
    if is_searched and not runs.search.scored:  # there is nothing to confirm
        return StudyProgress(study=study, num_ended=num_searched, num_planned=num_searched, is_complete=True)
    num_repeats = _num_repeats(runs)
    num_planned = plan.confirmations + plan.reduced
    return StudyProgress(
        study=study,
        num_ended=num_searched + min(num_repeats, num_planned),
        num_planned=num_trials + num_planned,
        is_complete=is_searched and num_repeats >= num_planned,
    )


def _num_repeats(runs: Runs) -> int:
    """Confirmations and reduced runs of what is chosen now that have ended."""
    if not was_extended(runs):
        return int(runs.among("phase", REPEATS).sum())
    found = confirmed(runs)
    return 0 if found.awaited is not None else int(found.counted.among("phase", REPEATS).sum())
