"""From tables of runs to the ranking: every task apart, every study scored alone, then compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import ndtr, ndtri

from orchestrator.ranking.interval import (
    Array,
    Simultaneous,
    examples_bound,
    examples_covariance,
    joint_draws,
    nearest_psd,
    simultaneous,
)
from orchestrator.ranking.options import COMPONENTS, MEASURED, RaceEnd, RankingOptions
from orchestrator.ranking.rows import study_row
from orchestrator.ranking.schema import PAIRS, RANKING
from orchestrator.ranking.score import FLOOR, Estimate, Evidence, estimate, gather
from orchestrator.ranking.study import read_studies
from orchestrator.ranking.verdict import Variances, Verdict, binding_limit, needed_num_test, sentences

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
    options: RankingOptions
    """What it was computed with."""


def rank(
    trials: pa.Table,
    tests: pa.Table,
    *,
    options: RankingOptions | None = None,
    races: Mapping[str, RaceEnd] | None = None,
) -> Ranking:
    """Rank the backbones of every task in the tables, each task apart.

    trials: columns of TRIALS, any number of studies. tests: columns of TESTS; rows may be missing.
    options: RankingOptions() when left out. races: how each task's race ended, where its studies had no equal
    budgets; None is no race.

    Score = weighted mean of chance-normalised test results under conditions of use: quality (fully tuned) and
    ease (1 to 8 random trials). Two claims about ranks: *found* compares the tuned configurations and covers
    seeds and the finite test set (Jordan 2023, arXiv:2304.01910, on why examples must be counted);
    *attainable*, the headline, compares the backbones and adds how much better each could still be than what
    was found.

    After a race the studies that were left are compared, and on quality alone: it is what all of them were
    confirmed for, while their numbers of trials differ by the race's own doing. Those that were dropped have
    no score; they may hold any place but the first, and so may whoever is not shown to be the first.

    Everything is deterministic and independent of row order. No study's score or own interval depends on
    another study; rank intervals, p_best and pairs do, by their nature.

    Accuracy and R2 are means of one number per test example, and treated alike. With macro F1 as metric, the
    test set's part is a conservative bound (see `examples_bound`), because macro F1 cannot be resampled from
    per-example correctness.

    Raises InvalidTable (a ValueError) when a table breaks its schema or contradicts itself.
    """
    options = options or RankingOptions()
    studies = read_studies(trials, tests)
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    for _, members in itertools.groupby(studies, key=lambda study: study.task):
        found = [gather(study) for study in members]
        task = _Task(found, options, (races or {}).get(found[0].study.task))
        rows += task.rows()
        pairs += task.pairs()
        verdicts.append(task.verdict())
    return Ranking(
        table=pa.Table.from_pylist(rows, schema=RANKING),
        pairs=pa.Table.from_pylist(pairs, schema=PAIRS),
        verdicts=tuple(verdicts),
        options=options,
    )


class _Task:
    """The studies of one task, compared."""

    def __init__(self, evidence: Sequence[Evidence], options: RankingOptions, race: RaceEnd | None) -> None:
        self.options = options
        self.race = race
        out = race.dropped if race else {}
        self.dropped = [item for item in evidence if item.study.backbone in out]
        still = [item for item in evidence if item.study.backbone not in out]
        self.insufficient = [item for item in still if item.reason is not None]
        ranked = [item for item in still if item.reason is None]
        shares = {"quality": 1.0, "ease": 0.0} if race else options.shares()
        scored = [(item, estimate(item, shares, options.seed)) for item in ranked]
        # Studies come sorted by name, so equal scores stay in that order.
        scored.sort(key=lambda pair: -pair[1].score)
        self.evidence = [item for item, _ in scored]
        self.estimates: list[Estimate] = [value for _, value in scored]
        self.scores = np.array([value.score for value in self.estimates])
        self.seeds = np.array([value.seed_variance for value in self.estimates])
        # Regret has one sign: what was found is a biased stand-in for what is attainable, and the second
        # moment holds the bias as well.
        self.tuning = np.array([value.regret_square for value in self.estimates])
        self.own_examples, self.examples = self._examples()
        self.found = self._compare(np.zeros(len(scored)))
        self.attainable = self._compare(self.tuning)

    def _examples(self) -> tuple[Array, Array]:
        """The finite test set's part of the variance, in score units: each study's own, and jointly."""
        if not self.evidence:
            return np.zeros(0), np.zeros((0, 0))
        first = self.evidence[0].results[0]
        if first.metric == "f1_macro":
            means = np.array([np.mean([result.score for result in item.results]) for item in self.evidence])
            covariance = examples_bound(means, first.example_scores.size)
        else:
            covariance = examples_covariance([item.example_scores for item in self.evidence])
        # All components of one backbone are scored on the same examples, so their errors are taken as one.
        covariance = covariance / (1.0 - first.chance) ** 2
        return np.diag(covariance).copy(), nearest_psd(covariance)

    def _compare(self, regret_squares: Array) -> Simultaneous | None:
        if not self.evidence:
            return None
        covariance = self.examples + np.diag(self.seeds)
        return simultaneous(self.scores, covariance, self.options.confidence, self.options.seed, regret_squares)

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        if self.found is not None and self.attainable is not None:
            draws = self.scores + joint_draws(self.examples + np.diag(self.seeds + self.tuning), self.options.seed)
            top = draws >= draws.max(axis=1, keepdims=True)
            p_best = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
            quantile = float(ndtri(0.5 + self.options.confidence / 2))
            for index, (item, value) in enumerate(zip(self.evidence, self.estimates, strict=True)):
                # What a backbone can attain is never below what was found: tuning widens the upper end only.
                own = value.seed_variance + float(self.own_examples[index])
                rows.append(
                    study_row(item)
                    | {
                        "status": "ranked",
                        "rank": 1 + int(np.sum(self.scores > value.score)),
                        "rank_low": int(self.attainable.low[index]),
                        "rank_high": self._worst(int(self.attainable.high[index])),
                        "found_rank_low": int(self.found.low[index]),
                        "found_rank_high": self._worst(int(self.found.high[index])),
                        "tied_with_leader": not bool(self.attainable.better[0, index]),
                        "p_best": float(p_best[index]),
                        "score": value.score,
                        "ci_low": max(FLOOR, value.score - quantile * math.sqrt(own)),
                        "ci_high": min(1.0, value.score + quantile * math.sqrt(own + value.regret_square)),
                        "quality": value.quality,
                        "quality_sd": math.sqrt(value.quality_variance + float(self.own_examples[index])),
                        "ease": value.ease,
                    }
                )
        rows += [study_row(item) | self._place(item) for item in self.dropped]
        rows += [study_row(item) | {"status": "insufficient", "reason": item.reason} for item in self.insufficient]
        return rows

    def _worst(self, rank: int) -> int:
        """The worst place of one that holds at worst `rank` among those compared: any that was dropped may be
        ahead of it, unless it is the first."""
        return rank + len(self.dropped) if rank > 1 else rank

    def _place(self, item: Evidence) -> dict[str, Any]:
        """Of one that was dropped."""
        assert self.race is not None  # for the type checker: only races drop
        worst = max(2, len(self.evidence) + len(self.dropped))
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
        if self.attainable is None:
            return []
        rows = []
        for a, b in itertools.combinations(range(len(self.evidence)), 2):
            difference = float(self.scores[a] - self.scores[b])
            limits = self.attainable.critical * self.attainable.sd
            sd = math.sqrt(float(self.attainable.sd[a, b] ** 2) + float(self.tuning[a]))
            rows.append(
                {
                    "task": self.evidence[a].study.task,
                    "a": self.evidence[a].study.backbone,
                    "b": self.evidence[b].study.backbone,
                    "difference": difference,
                    "ci_low": difference - float(limits[a, b]),
                    "ci_high": difference + float(limits[b, a]),
                    "p_a_beats_b": _p_positive(difference, sd),
                    "p_tied": _p_positive(difference + self.options.eps, sd)
                    - _p_positive(difference - self.options.eps, sd),
                    "distinguishable": bool(self.attainable.better[a, b]),
                }
            )
        return rows

    def verdict(self) -> Verdict:
        everyone = sorted([*self.evidence, *self.dropped, *self.insufficient], key=lambda item: item.study.backbone)
        budget = tuple((item.study.backbone, len(item.study.search)) for item in everyone)
        weights = self.options.weights
        measured = ("quality",) if self.race else MEASURED
        names = [item.study.backbone for item in self.evidence]
        num_test = self.evidence[0].results[0].example_scores.size if self.evidence else None
        verdict = Verdict(
            task=everyone[0].study.task,
            leaders=(),
            sentences=(),
            limit=None,
            min_detectable_gap=None,
            num_test_needed=None,
            measured=measured if self.race else tuple(name for name in measured if weights.get(name, 0.0) > 0),
            unmeasured=tuple(name for name in COMPONENTS if name not in measured and weights.get(name, 0.0) > 0),
            budget=budget,
            equal_budget=len({count for _, count in budget}) <= 1,
            insufficient=tuple(item.study.backbone for item in self.insufficient),
            dropped=tuple(item.study.backbone for item in self.dropped),
            race=self.race.sentence if self.race else None,
        )
        tied: list[str] = []
        if self.attainable is not None and num_test is not None:
            parts = self._top_variances()
            beaten = self.attainable.better[0]
            tied = [name for name, worse in zip(names[1:], beaten[1:], strict=True) if not worse]
            verdict = replace(
                verdict,
                leaders=tuple(name for name, low in zip(names, self.attainable.low, strict=True) if low == 1),
                limit=binding_limit(parts),
            )
            if len(names) > 1:
                critical = self.attainable.critical
                upper = self.attainable.sd[np.triu_indices(len(names), 1)]
                told_apart = bool(self.attainable.better[0, 1])
                difference = float(self.scores[0] - self.scores[1])
                verdict = replace(
                    verdict,
                    min_detectable_gap=critical * float(np.median(upper)),
                    num_test_needed=None if told_apart else needed_num_test(difference, parts, critical, num_test),
                )
        words = sentences(
            ranked=names, tied=tied, verdict=verdict, confidence=self.options.confidence, num_test=num_test
        )
        return replace(verdict, sentences=words)

    def _top_variances(self) -> Variances:
        """Parts of the variance of the top two's difference, or of the only score."""
        top = slice(0, 2)
        examples = self.examples[top, top]
        contrast = np.array([1.0, -1.0])[: len(examples)]
        return Variances(
            seeds=float(self.seeds[top].sum()),
            examples=max(float(contrast @ examples @ contrast), 0.0),
            tuning=float(self.tuning[top][-1]),  # of the one that is held to be worse
        )


def _p_positive(mean: float, sd: float) -> float:
    """P(N(mean, sd^2) > 0); one half for a certain zero."""
    if sd <= 0:
        return 0.5 if mean == 0 else float(mean > 0)
    return float(ndtr(mean / sd))
