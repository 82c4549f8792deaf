"""Which configuration a study's confirmations confirm, and which of them a later choice has superseded.

A sweep that is given more budget searches on, and another configuration may be chosen then. The runs that
confirmed the one before stay in the tables, but they count no more: neither in the headline nor in the surface
that scores are estimated from. They are honest test results of a configuration that was tried, and the surface
could use them; but a study whose choice moved would then rest on more runs than one whose choice stood, and how
often somebody stopped to look would be part of the result. Without them an extended sweep is ranked as one that
had the whole budget from the start.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ranking.choice import NoCompletedTrial, choose_run
from orchestrator.ranking.runs import REPEATS, Run, Runs, collapsed
from orchestrator.ranking.study import read_runs

__all__ = ["MIN_CONFIRMATIONS", "Confirmed", "confirmed", "fallen", "superseded", "was_extended"]

MIN_CONFIRMATIONS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """What a study claims, and what it rests on."""

    chosen: Run | None
    """The trial whose configuration is claimed; None where no search trial completed."""
    awaited: Run | None
    """The trial that is chosen on validation by now, where it is not confirmed yet and `chosen` was before it."""
    counted: Runs
    """All runs of the study but the superseded ones."""
    superseded: Runs
    """Confirmations and reduced runs that do not count: no more, or those of `awaited` not yet."""


def superseded(trials: pa.Table) -> frozenset[tuple[str, int]]:
    """Study and number of each confirmation and reduced run that does not count.

    A repeat counts while its configuration, the seed apart, is the one chosen on validation. As long as that one
    has not been confirmed itself, those of the one confirmed last before it still count instead: a sweep that was
    stopped in the middle of more budget says what it said before. Of repeats that are equal in seed and share of the
    training data as well, which tell the same twice, the last that completed counts.

    Args:
        trials: columns of TRIALS, any number of studies.

    Raises:
        InvalidTable: as `choose` does.
    """
    repeats = trials.filter(pc.is_in(trials["phase"], pa.array(REPEATS, pa.string())))
    found: set[tuple[str, int]] = set()
    for study in repeats["study"].unique().to_pylist():
        runs = read_runs(trials.filter(pc.field("study") == study))
        if was_extended(runs) or _repeated(list(runs.at(runs.among("phase", REPEATS)))):
            found |= {(study, run.number) for run in confirmed(runs).superseded}
    return frozenset(found)


def fallen(trials: pa.Table, tests: pa.Table, out: Collection[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    """Study and number of each confirmation and reduced run that collapsed, which the scores leave out: far below
    the others of its study on as much training data.

    Args:
        trials: columns of TRIALS, any number of studies.
        tests: columns of TESTS.
        out: what `superseded` says of these trials.
    """
    ended = pc.and_(pc.is_in(trials["phase"], pa.array(REPEATS, pa.string())), pc.equal(trials["state"], "completed"))
    repeats = trials.filter(ended).select(["study", "number", "train_frac"]).to_pylist()
    names = ("study", "number", "test_score")
    scores = {
        (study, number): score for study, number, score in zip(*(tests[n].to_pylist() for n in names), strict=True)
    }
    alike: defaultdict[tuple[str, float], list[tuple[str, int]]] = defaultdict(list)
    for run in repeats:
        key = run["study"], run["number"]
        if key in scores and key not in out:
            alike[run["study"], round(run["train_frac"], 9)].append(key)
    found: set[tuple[str, int]] = set()
    for keys in alike.values():
        fell = collapsed([scores[key] for key in keys])
        found |= {key for key, is_out in zip(keys, fell, strict=True) if is_out}
    return frozenset(found)


def confirmed(runs: Runs) -> Confirmed:
    """The same of the runs of one study, by number, and what is claimed."""
    repeats = list(runs.at(runs.among("phase", REPEATS)))
    out = {run.number for run in _repeated(repeats)}
    newest, chosen = _choice(runs, [run for run in repeats if run.number not in out])
    if chosen is not None:
        out |= {run.number for run in repeats if run.configuration != chosen.configuration}
    gone = np.isin(runs.numbers_in("number"), sorted(out))
    return Confirmed(
        chosen=chosen,
        awaited=None if newest is chosen else newest,
        counted=runs.at(~gone),
        superseded=runs.at(gone),
    )


def was_extended(runs: Runs) -> bool:
    """Whether a study may have more than one set of confirmations: whether it searched on after one, or has two.

    As a rule it did not, and then there is no need to ask what is chosen.
    """
    again = runs.among("phase", REPEATS)
    if not again.any() or again.all():
        return False
    numbers = runs.numbers_in("number")
    if numbers[~again].max() > numbers[again].min():
        return True
    return len({run.configuration for run in runs.at(again)}) > 1


def _choice(runs: Runs, repeats: Sequence[Run]) -> tuple[Run | None, Run | None]:
    """The trial that is chosen on validation, and the one that is claimed: it, or the one confirmed last before."""
    try:
        newest = choose_run(runs)
    except NoCompletedTrial:
        return None, None
    done = [run for run in repeats if run.phase == "confirmation" and run.state == "completed"]
    counts = Counter(run.configuration for run in done)
    if counts[newest.configuration] >= MIN_CONFIRMATIONS:
        return newest, newest
    last = {run.configuration: run.number for run in done}
    tried = runs.search.scored
    # Two equal configurations have equal rates: of very many trials few need a closer look.
    alike = np.isin(tried.numbers_in("head_learning_rate"), [run.head_learning_rate for run in done])
    candidates: list[Run] = [newest, *tried.at(alike)]

    def standing(run: Run) -> tuple[int, bool, int]:
        own = run.configuration
        return min(counts[own], MIN_CONFIRMATIONS), own == newest.configuration, last.get(own, -1)

    return newest, max(candidates, key=standing)  # the first of equals


def _repeated(repeats: Sequence[Run]) -> list[Run]:
    """All but one of those that differ in nothing, not even the seed."""
    best: dict[tuple[Any, ...], Run] = {}
    for run in sorted(repeats, key=lambda run: (run.state == "completed", run.number)):
        best[run.phase, run.seed, run.train_frac, run.configuration] = run
    kept = {run.number for run in best.values()}
    return [run for run in repeats if run.number not in kept]
