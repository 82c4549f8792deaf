"""From tables of runs to the ranking: every task apart, every study scored alone, then compared."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from orchestrator.ranking.claims import TaskScores
from orchestrator.ranking.options import Planned, RaceEnd, RankingOptions
from orchestrator.ranking.schema import PAIRS, RANKING
from orchestrator.ranking.score import gather
from orchestrator.ranking.study import read_studies
from orchestrator.ranking.task import TaskRanking
from orchestrator.ranking.verdict import Verdict

__all__ = ["Ranking", "rank"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """What `rank` returns."""

    table: pa.Table
    """Schema RANKING: a row per study, by task, then rank; insufficient ones last, by name."""
    pairs: pa.Table
    """Schema PAIRS: a row per pair of ranked backbones of a task."""
    verdicts: tuple[Verdict, ...]
    """One per task, by name."""
    scores: tuple[TaskScores, ...]
    """One per task that has anyone ranked, by name: what the claims were computed from."""
    options: RankingOptions
    """What it was computed with."""


def rank(
    trials: pa.Table,
    tests: pa.Table,
    *,
    options: RankingOptions | None = None,
    races: Mapping[str, RaceEnd] | None = None,
    planned: Mapping[str, Planned] | None = None,
) -> Ranking:
    """Rank the backbones of every task in the tables, each task apart.

    trials: columns of TRIALS, any number of studies. tests: columns of TESTS; rows may be missing.
    options: RankingOptions() when left out. races: how each task's race ended, where its studies had no equal
    budgets; None is no race. planned: study -> the runs it was to have, so that an unfinished sweep says how far it
    came; None where nobody knows.

    Score = weighted mean of chance-normalised test results under conditions of use: quality (fully tuned), ease
    (1 to 8 random trials), data efficiency (less training data) and robustness (perturbed inputs). A condition
    that was not measured for every ranked backbone of a task is in nobody's score, and named. Two claims about
    ranks: *found* compares the tuned configurations and covers seeds and the finite test set (Jordan 2023,
    arXiv:2304.01910, on why examples must be counted); *attainable*, the headline, compares the backbones and
    adds how much better each could still be than what was found.

    After a race the studies that were left are compared, and on quality alone: it is what all of them were
    confirmed for, while their numbers of trials differ by the race's own doing. Those that were dropped have
    no score; they may hold any place but the first, and so may whoever is not shown to be the first.

    Everything is deterministic and independent of row order. Where all have the same conditions, no study's
    score or own interval depends on another study; rank intervals, p_best and pairs do, by their nature.

    Accuracy and R2 are means of one number per test example, and treated alike. With macro F1 as metric, the
    test set's part is a conservative bound (see `examples_bound`), because macro F1 cannot be resampled from
    per-example correctness.

    Raises InvalidTable (a ValueError) when a table breaks its schema or contradicts itself.
    """
    options = options or RankingOptions()
    studies = read_studies(trials, tests)
    planned = planned or {}
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    scores: list[TaskScores] = []
    for _, members in itertools.groupby(studies, key=lambda study: study.task):
        found = [gather(study) for study in members]
        name = found[0].study.task
        of_task = {study: plan for study, plan in planned.items() if study.partition(":")[0] == name}
        task = TaskRanking(found, options, (races or {}).get(name), of_task)
        rows += task.rows()
        pairs += task.pairs()
        verdicts.append(task.verdict())
        scores += [task.scores] if task.scored else []
    return Ranking(
        table=pa.Table.from_pylist(rows, schema=RANKING),
        pairs=pa.Table.from_pylist(pairs, schema=PAIRS),
        verdicts=tuple(verdicts),
        scores=tuple(scores),
        options=options,
    )
