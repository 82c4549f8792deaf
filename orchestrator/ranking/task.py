"""The studies of one task, compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.ranking.claims import Claims, TaskScores, own_interval
from orchestrator.ranking.conditions import Scored, joint_examples, measured, score_under
from orchestrator.ranking.options import COMPONENTS, Planned, RaceEnd, RankingOptions
from orchestrator.ranking.progress import Progress
from orchestrator.ranking.purchase import Bought
from orchestrator.ranking.rows import absent_row, study_row
from orchestrator.ranking.score import Evidence
from orchestrator.ranking.stability import weight_stability
from orchestrator.ranking.verdict import Facts, Verdict, judge

__all__ = ["TaskRanking"]


class TaskRanking:
    """Scores, ranks and claims of one task.

    Args:
        evidence: of its studies, by name; at least one.
        race: how its race ended; None where there was none.
        planned: study -> the runs it was to have; of other studies that is not known.
    """

    def __init__(
        self,
        evidence: Sequence[Evidence],
        options: RankingOptions,
        race: RaceEnd | None,
        planned: Mapping[str, Planned],
    ) -> None:
        self.options = options
        self.race = race
        self.progress = Progress(evidence, planned)
        out = race.dropped if race else {}
        self.dropped = [item for item in evidence if item.study.backbone in out]
        still = [item for item in evidence if item.study.backbone not in out]
        self.insufficient = [item for item in still if item.reason is not None]
        ranked = [item for item in still if item.reason is None]
        self.measured = measured(ranked)
        self.components = ("quality",) if race else self.measured.components
        self.shares = dict.fromkeys(COMPONENTS, 0.0)
        if ranked:
            self.shares |= {"quality": 1.0} if race else options.shares(self.components)
        fracs = self.measured.train_fracs
        # Studies come sorted by name, so equal scores stay in that order.
        self.scored = sorted(
            (score_under(item, self.shares, fracs, options.seed) for item in ranked), key=lambda item: -item.score
        )
        self.stability = weight_stability([item.components() for item in self.scored], self.shares, options.seed)
        own_examples, examples = joint_examples(self.scored)
        self.scores = TaskScores(
            task=evidence[0].study.task,
            backbones=tuple(item.evidence.study.backbone for item in self.scored),
            scores=np.array([item.score for item in self.scored]),
            seed_variances=np.array([item.seed_variance for item in self.scored]),
            own_examples=own_examples,
            examples=examples,
            # Regret has one sign: what was found is a biased stand-in for what is attainable, and the second
            # moment holds the bias as well.
            regret_squares=np.array([item.regret_square for item in self.scored]),
        )
        self.claims = Claims(self.scores, options) if self.scored else None

    def rows(self) -> list[dict[str, Any]]:
        """Of schema RANKING: by rank, then those that were dropped, then those with too little evidence."""
        rows = []
        if self.claims is not None:
            found, attainable = self.claims.found, self.claims.attainable
            for index, item in enumerate(self.scored):
                rows.append(
                    self._study_row(item.evidence)
                    | self._condition_columns(item, float(self.scores.own_variances[index]))
                    | {
                        "status": "ranked",
                        "rank": self.claims.ranks[index],
                        "rank_low": int(attainable.low[index]),
                        "rank_high": self._worst(int(attainable.high[index])),
                        "found_rank_low": int(found.low[index]),
                        "found_rank_high": self._worst(int(found.high[index])),
                        "tied_with_leader": not bool(attainable.better[0, index]),
                        "p_best": float(self.claims.p_best[index]),
                        "weight_stability": float(self.stability[index]),
                    }
                )
        rows += [self._study_row(item) | self._place(item) for item in self.dropped]
        return rows + self._insufficient_rows()

    def _insufficient_rows(self) -> list[dict[str, Any]]:
        rows = [self._study_row(item) | {"status": "insufficient", "reason": item.reason} for item in self.insufficient]
        rows += [absent_row(self.scores.task, backbone) for backbone in self.progress.absent]
        return sorted(rows, key=lambda row: str(row["backbone"]))

    def _study_row(self, item: Evidence) -> dict[str, Any]:
        return study_row(item, self.progress.planned(item))

    def _condition_columns(self, item: Scored, own: float) -> dict[str, Any]:
        low, high = own_interval(item.score, own, self.options.confidence, regret_square=item.regret_square)
        return {
            "score": item.score,
            "ci_low": low,
            "ci_high": high,
            "quality": item.quality,
            "quality_sd": math.sqrt(item.quality_variance),
            "ease": item.ease,
            "data_efficiency": item.data_efficiency,
            "data_efficiency_sd": _sd(item.data_efficiency_variance),
            "robustness": item.robustness,
            "robustness_sd": _sd(item.robustness_variance),
        }

    def _worst(self, rank: int) -> int:
        """The worst place of one that holds at worst `rank` among those compared: any that was dropped may be
        ahead of it, unless it is the first."""
        return rank + len(self.dropped) if rank > 1 else rank

    def _place(self, item: Evidence) -> dict[str, Any]:
        """Of one that was dropped."""
        assert self.race is not None  # for the type checker: only races drop
        worst = max(2, len(self.scored) + len(self.dropped))
        return {
            "status": "dropped",
            "reason": self.race.dropped[item.study.backbone],
            "rank_low": 2,
            "rank_high": worst,
            "found_rank_low": 2,
            "found_rank_high": worst,
            "tied_with_leader": False,
        }

    def pairs(self) -> list[dict[str, Any]]:
        """Of schema PAIRS."""
        if self.claims is None:
            return []
        by_name = {item.evidence.study.backbone: item.evidence for item in self.scored}
        return [
            row | {"p_single_run": _p_single_run(by_name[row["a"]], by_name[row["b"]])} for row in self.claims.pairs()
        ]

    def verdict(self) -> Verdict:
        """The outcome, in numbers and in words."""
        items = [*(item.evidence for item in self.scored), *self.dropped, *self.insufficient]
        everyone = sorted(items, key=lambda item: item.study.backbone)
        fracs = self.measured.train_fracs
        weighted = [name for name in COMPONENTS if self.options.weights.get(name, 0.0) > 0]
        unmeasured = tuple(name for name in weighted if name not in self.components)
        return judge(
            Facts(
                scores=self.scores,
                claims=self.claims,
                bought=self._bought(),
                stability=self.stability,
                measured=tuple(name for name in COMPONENTS if self.shares[name] > 0),
                unmeasured=unmeasured,
                lacking={} if self.race else {n: who for n, who in self.measured.lacking.items() if n in unmeasured},
                train_fracs=fracs if self.shares["data_efficiency"] > 0 else (),
                budget=tuple((item.study.backbone, len(item.study.search)) for item in everyone),
                insufficient={str(row["backbone"]): str(row["reason"]) for row in self._insufficient_rows()},
                dropped=tuple(item.study.backbone for item in self.dropped),
                race=self.race.sentence if self.race else None,
                confidence=self.options.confidence,
                notes=tuple(self.progress.sentences()),
            )
        )

    def _bought(self) -> Bought | None:
        """By each of the top two; of unequal budgets the smaller."""
        top = [item.evidence for item in self.scored[:2]]
        if not top:
            return None
        return Bought(
            num_test=top[0].results[0].example_scores.size,
            num_seeds=min(len(item.confirmed) for item in top),
            num_trials=min(len(item.study.search) for item in top),
        )


def _p_single_run(a: Evidence, b: Evidence) -> float:
    """P(one run of a scores above one of b), over the pairs of confirmations; equal scores count half."""
    ours, theirs = ([result.score for result in item.results] for item in (a, b))
    wins = [(x > y) + 0.5 * (x == y) for x in ours for y in theirs]
    return float(np.mean(wins))


def _sd(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(variance)
