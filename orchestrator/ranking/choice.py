"""Which tried configuration of a study to confirm, from validation scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from orchestrator.errors import OrchestratorError
from orchestrator.ranking.runs import Run, Runs
from orchestrator.ranking.scale import lowest
from orchestrator.ranking.study import InvalidTable, read_runs
from orchestrator.ranking.surface import Array, embed, fit

__all__ = ["MOST_RUNS", "NoCompletedTrial", "choose", "choose_run", "coordinates", "even_share"]

MOST_RUNS: Final = 128
"""What a surface is fitted to, as its cost grows with the cube of the runs: a tenth of a second for this many."""


class NoCompletedTrial(OrchestratorError, ValueError):
    """A study has no completed search trial with a validation score: there is nothing to choose from."""


def choose(trials: pa.Table) -> int:
    """The number of the tried configuration whose smoothed validation score is best.

    trials: the rows of one study, columns of TRIALS. Only completed trials of the search phases count: a
    stopped trial's score belongs to fewer epochs, and on one scale with the others it would say "bad
    configuration" where it means "short run". Confirmations, failed and stopped trials are ignored.

    The maximum of noisy validation scores goes to a lucky trial as often as to a good one, and the luckier
    the more trials there are; the posterior mean at the tried configurations asks the neighbours too. On a
    tie the lowest number wins. Deterministic, and blind to the order of the rows. Of more than MOST_RUNS trials
    an even share is asked.

    Raises NoCompletedTrial when nothing completed, InvalidTable when the table holds more than one study, a
    column that TRIALS has not (such as a test score), or an impossible value. Both are ValueErrors.
    """
    runs = read_runs(trials)
    studies = sorted(runs.distinct("study"))
    if len(studies) > 1:
        raise InvalidTable(f"choose reads one study, got {len(studies)}: {studies[:3]}")
    return choose_run(runs).number


def choose_run(runs: Runs) -> Run:
    """`choose` on the runs of one study, by number. Raises NoCompletedTrial."""
    tried = runs.search.scored
    if not tried:
        name = repr(runs[0].study) if runs else "the study"
        raise NoCompletedTrial(f"{name}: no completed search trial among {len(runs)} runs")
    asked = even_share(tried)
    # Of more runs than are asked, the surface judges those that did best by themselves.
    best = np.argsort(-tried.numbers_in("val_score"), kind="stable")[:MOST_RUNS]
    candidates = tried.at(np.sort(best))
    scores = np.array([run.val_score for run in asked], dtype=np.float64)
    surface = fit(coordinates(asked), scores, low=lowest(asked[0].metric))
    # Rounded far below any meaning: equal configurations tie instead of differing in the last bit.
    smoothed = np.round(surface.mean(coordinates(candidates)), 12)
    return candidates[int(np.argmax(smoothed))]


def even_share(runs: Runs) -> list[Run]:
    """At most MOST_RUNS of the runs, in their order: every one, or evenly spaced ones.

    Taken without a look at their scores, so that a surface is no more optimistic than with all.
    """
    places = np.linspace(0, len(runs) - 1, min(len(runs), MOST_RUNS)).round().astype(int)
    return list(runs.at(places))


def coordinates(runs: Sequence[Run]) -> Array:
    """The runs' kernel coordinates, shape (n, 5)."""
    return embed(
        [run.freeze_frac for run in runs],
        [run.learning_rate for run in runs],
        [run.head_learning_rate for run in runs],
        [run.tune_stop_frac for run in runs],
    )
