"""How races ended, in words, from what a sweep's folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from orchestrator.progress import races
from orchestrator.ranking import RaceEnd
from orchestrator.searching.allocation import CONFIDENCE, DROP_BELOW, EPS, Race, search_trials

__all__ = ["race_ends"]


def race_ends(facts: Mapping[str, Any], trials: pa.Table) -> dict[str, RaceEnd]:
    """Task -> how its race ended; empty for a sweep that was none.

    Args:
        facts: what `sweep.json` holds.
        trials: columns of TRIALS.
    """
    found = races(facts, trials)
    counts = {study: len(runs) for study, runs in search_trials(trials).items()} if found else {}
    return {task: _end(race, counts) for task, race in found.items()}


def _end(race: Race, counts: Mapping[str, int]) -> RaceEnd:
    dropped = {}
    for look in race.looks:
        for study in look.dropped:
            p_best = look.standing.p_best.get(study) if look.standing else None
            reason = "no trial had completed" if p_best is None else f"{p_best:.1%} likely to be the best"
            dropped[_backbone(study)] = f"dropped after {counts.get(study, 0)} trials: {reason}"
    spent = sum(counts.get(study, 0) for study in race.studies)
    return RaceEnd(dropped=dropped, sentence=_sentence(race, spent))


def _sentence(race: Race, spent: int) -> str:
    now = race.looks[-1].standing if race.looks else None
    of_all = f"{spent} of {race.total} trials"
    if now is None:
        return f"race: {of_all}, and no look at them yet." if race.outcome is None else f"race: {of_all}, all failed."
    leader = _backbone(now.leader)
    match race.outcome:
        case "confident":
            return (
                f"race: {of_all} were enough: on validation {leader} is within {100 * EPS:g} points of the best "
                f"with {now.p_leader:.0%} probability."
            )
        case "alone":
            return (
                f"race: {of_all} were enough: every backbone but {leader} was less than {DROP_BELOW:.0%} likely to "
                "be the best."
            )
        case "set-limited":
            return (
                f"race: {of_all}, then it was stopped: those left cannot be told apart to within {100 * EPS:g} points "
                f"at {CONFIDENCE:.0%} with this validation set, and more trials would not help."
            )
        case "budget":
            return f"race: {of_all}, and no more for all alike: it ended undecided."
        case _:
            return f"race: ended after {of_all}, undecided."


def _backbone(study: str) -> str:
    return study.partition(":")[2]
