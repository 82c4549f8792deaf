"""Rank pretrained backbones by how well they adapt: pure functions over the sweep's Arrow tables.

`choose` picks the configuration of a study to confirm, from validation scores; `rank` turns all studies of a
sweep into a table with simultaneous rank intervals, and `rank_scores` does so for a plain table of scores.
`aggregate` puts several tasks together, `compare` two rankings beside each other, and `profile_tables` says what
there is to know of each backbone beside its place. None does any I/O.
"""

from __future__ import annotations

from orchestrator.ranking.aggregate import Aggregate, aggregate
from orchestrator.ranking.choice import NoCompletedTrial, choose
from orchestrator.ranking.compare import Comparison, common_weights, compare
from orchestrator.ranking.confirmed import fallen, superseded
from orchestrator.ranking.foreign import rank_scores
from orchestrator.ranking.options import PRESETS, Planned, RaceEnd, RankingOptions
from orchestrator.ranking.profile import ProfileTables, profile_tables
from orchestrator.ranking.result import Ranking, rank
from orchestrator.ranking.schema import PAIRS, RANKING
from orchestrator.ranking.study import InvalidTable
from orchestrator.ranking.verdict import Verdict

__all__ = [
    "PAIRS",
    "PRESETS",
    "RANKING",
    "Aggregate",
    "Comparison",
    "InvalidTable",
    "NoCompletedTrial",
    "Planned",
    "ProfileTables",
    "RaceEnd",
    "Ranking",
    "RankingOptions",
    "Verdict",
    "aggregate",
    "choose",
    "common_weights",
    "compare",
    "fallen",
    "profile_tables",
    "rank",
    "rank_scores",
    "superseded",
]
