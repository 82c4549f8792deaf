"""Rank pretrained backbones by how well they adapt: pure functions over the sweep's Arrow tables.

`choose` picks the configuration of a study to confirm, from validation scores; `rank` turns all studies of a
sweep into a table with simultaneous rank intervals. Neither does any I/O.
"""

from __future__ import annotations

from orchestrator.ranking.choice import NoCompletedTrial, choose
from orchestrator.ranking.options import RaceEnd, RankingOptions
from orchestrator.ranking.result import Ranking, rank
from orchestrator.ranking.schema import PAIRS, RANKING
from orchestrator.ranking.study import InvalidTable
from orchestrator.ranking.verdict import Verdict

__all__ = [
    "PAIRS",
    "RANKING",
    "InvalidTable",
    "NoCompletedTrial",
    "RaceEnd",
    "Ranking",
    "RankingOptions",
    "Verdict",
    "choose",
    "rank",
]
