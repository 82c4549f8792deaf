"""Rank scores that somebody else measured: a plain table, with or without seeds and per-example results.

The columns of the table, in any order:

=====================  =====================  ====================================================================
``task``               text                   what was adapted to; ranked one by one
``backbone``           text                   what is ranked
``score``              number                 of one run on the test set, higher is better, at most 1: accuracy 0.913
``seed`` (optional)    whole number           of the run; without it a backbone has one row per task
``correct`` (opt.)     text of 0 and 1, or a  of each test example, in the same order for every backbone of the task,
                       list of booleans       whether the answer was right; its mean is the score
``example_scores``     list of numbers        the same where answers are not right or wrong
(opt., not both)
``chance`` (optional)  number in [0, 1)       score of the best constant answer, one per task
=====================  =====================  ====================================================================

For example::

    task,backbone,seed,score,chance,correct
    pets,resnet50,0,0.75,0.25,11011011
    pets,resnet50,1,0.625,0.25,11011010
    pets,vit_b16,0,0.875,0.25,11111110
    pets,vit_b16,1,0.875,0.25,11011111

What is missing cannot be claimed, and is said: without seeds nothing about other seeds, without per-example
results nothing about other test sets, without both nothing but the order. How the scores came about, with how
much tuning, and whether the test set chose among them, no table tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from scipy.special import ndtri, stdtrit

from orchestrator.ranking.claims import Claims, TaskScores, own_interval
from orchestrator.ranking.interval import Array, examples_covariance, nearest_psd, paired_covariance
from orchestrator.ranking.options import RankingOptions
from orchestrator.ranking.purchase import Bought
from orchestrator.ranking.result import Ranking
from orchestrator.ranking.schema import PAIRS, RANKING
from orchestrator.ranking.score import normalise
from orchestrator.ranking.study import InvalidTable
from orchestrator.ranking.verdict import Facts, Verdict, judge

__all__ = ["NEEDED", "OPTIONAL", "InvalidScores", "rank_scores"]

NEEDED: Final = ("task", "backbone", "score")
OPTIONAL: Final = ("seed", "correct", "example_scores", "chance")


class InvalidScores(InvalidTable):
    """A table of scores lacks a column or holds a value that cannot be meant."""

    exit_code: ClassVar[int] = 2


def rank_scores(table: pa.Table, options: RankingOptions | None = None) -> Ranking:
    """Rank a plain table of scores; the columns are described above.

    Columns that RANKING has and such a table has not are null, or 0 where they count. Rank intervals are null
    where neither seeds nor examples are known. Backbones without a row for a task are not in its ranking.

    Seeds count where every backbone of a task has two runs or more, by their pooled variance with Student's
    factor for its degrees of freedom. Examples count where every run of the task has them.

    Raises:
        InvalidScores: a column is missing or unknown, or a value cannot be meant.
    """
    options = options or RankingOptions()
    unknown = sorted(set(table.column_names) - {*NEEDED, *OPTIONAL})
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing or unknown:
        raise InvalidScores(
            f"a table of scores has the columns {', '.join(NEEDED)} and may have {', '.join(OPTIONAL)}; "
            f"missing: {missing}, unknown: {unknown}"
        )
    by_task: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for number, row in enumerate(table.to_pylist(), start=1):
        _check(row, f"row {number}")
        by_task.setdefault(str(row["task"]), {}).setdefault(str(row["backbone"]), []).append(row)
    tasks = [_ForeignTask(task, by_task[task], options) for task in sorted(by_task)]
    return Ranking(
        table=pa.Table.from_pylist([row for task in tasks for row in task.rows()], schema=RANKING),
        pairs=pa.Table.from_pylist([row for task in tasks for row in task.pairs()], schema=PAIRS),
        verdicts=tuple(task.verdict() for task in tasks),
        scores=tuple(task.scores for task in tasks),
        options=options,
    )


class _ForeignTask:
    """The rows of one task, by backbone."""

    def __init__(self, task: str, rows: Mapping[str, Sequence[dict[str, Any]]], options: RankingOptions) -> None:
        self.options = options
        self.runs = {name: _unique(task, name, rows[name]) for name in sorted(rows)}
        everything = [row for runs in self.runs.values() for row in runs]
        self.chance = _chance(task, everything)
        self.examples = _examples(task, self.runs)
        self.has_seeds = all(len(runs) > 1 for runs in self.runs.values())
        names = list(self.runs)
        means = np.array([np.mean([row["score"] for row in self.runs[name]]) for name in names])
        scores = normalise(means, self.chance)
        unit = (1.0 - self.chance) ** 2
        order = np.argsort(-scores, kind="stable")
        examples = self._examples_covariance(names) / unit
        self.scores = TaskScores(
            task=task,
            backbones=tuple(names[index] for index in order),
            scores=scores[order],
            seed_variances=self._seed_variances(names)[order] / unit,
            own_examples=np.diag(examples)[order],
            examples=nearest_psd(examples[np.ix_(order, order)]),
            regret_squares=np.zeros(len(names)),
            has_errors=self.has_seeds or bool(self.examples),
        )
        self.claims = Claims(self.scores, options) if self.scores.has_errors else None

    def _seed_variances(self, names: Sequence[str]) -> Array:
        if not self.has_seeds:
            return np.zeros(len(names))
        runs = [np.array([row["score"] for row in self.runs[name]]) for name in names]
        freedom = sum(len(scores) - 1 for scores in runs)
        pooled = sum(float(np.sum((scores - scores.mean()) ** 2)) for scores in runs) / freedom
        upper = 0.5 + self.options.confidence / 2
        factor = float(stdtrit(freedom, upper) / ndtri(upper))
        return np.array([pooled * factor**2 / len(scores) for scores in runs])

    def _examples_covariance(self, names: Sequence[str]) -> Array:
        if not self.examples:
            return np.zeros((len(names), len(names)))
        per_run = [self.examples[name] for name in names]
        if self.has_seeds:
            return examples_covariance(per_run)
        # Of single runs the noise between runs cannot be told from the examples': it stays in.
        return paired_covariance(np.stack([runs.mean(axis=0) for runs in per_run]), np.zeros(len(names)))

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for index, name in enumerate(self.scores.backbones):
            results = [row["score"] for row in self.runs[name]]
            score = float(self.scores.scores[index])
            row: dict[str, Any] = {
                "task": self.scores.task,
                "backbone": name,
                "status": "ranked",
                "rank": 1 + int(np.sum(self.scores.scores > score)),
                "score": score,
                "quality": score,
                "weight_stability": None,
                "confirmation_mean": float(np.mean(results)),
                "confirmation_sd": float(np.std(results, ddof=1)) if len(results) > 1 else None,
                "num_confirmations": len(results),
                "chance": self.chance,
                "test_metric": "score",
                "num_test": self.examples[name].shape[1] if self.examples else None,
            }
            row |= dict.fromkeys(("num_collapsed", "num_confirmations_lost", "num_superseded"), 0)
            row |= dict.fromkeys(("num_trials", "num_completed", "num_stopped", "num_failed"), 0)
            if self.claims is not None:
                own = float(self.scores.own_variances[index])
                ci_low, ci_high = own_interval(score, own, self.options.confidence)
                low, high = int(self.claims.found.low[index]), int(self.claims.found.high[index])
                row |= {"rank_low": low, "rank_high": high, "found_rank_low": low, "found_rank_high": high}
                row |= {
                    "tied_with_leader": not bool(self.claims.found.better[0, index]),
                    "p_best": float(self.claims.p_best[index]),
                    "ci_low": ci_low,
                    "ci_high": ci_high,
                    "quality_sd": math.sqrt(own),
                }
            rows.append(row)
        return rows

    def pairs(self) -> list[dict[str, Any]]:
        return [] if self.claims is None else self.claims.pairs()

    def verdict(self) -> Verdict:
        bought = None
        if self.claims is not None and self.examples:
            top = self.scores.backbones[:2]
            num_seeds = min(len(self.runs[name]) for name in top)
            bought = Bought(num_test=self.examples[top[0]].shape[1], num_seeds=num_seeds, num_trials=0)
        return judge(
            Facts(
                scores=self.scores,
                claims=self.claims,
                bought=bought,
                stability=np.zeros(0),
                measured=("quality",),
                unmeasured=(),
                lacking={},
                train_fracs=(),
                budget=(),
                insufficient={},
                dropped=(),
                race=None,
                confidence=self.options.confidence,
                notes=tuple(self._notes()),
            )
        )

    def _notes(self) -> list[str]:
        notes = []
        if self.claims is None:
            notes.append(
                "Neither seeds nor per-example results are in the table: this is the order of the scores, and whether "
                "any difference is more than luck cannot be said."
            )
        elif not self.has_seeds:
            notes.append("Not every backbone has two seeds: nothing is claimed about other seeds than those it had.")
        elif not self.examples:
            notes.append(
                "Per-example results are not in the table: intervals cover seeds alone, and with another test set the "
                "order may be another."
            )
        if all(row.get("chance") is None for runs in self.runs.values() for row in runs):
            notes.append("The chance level is not in the table: scores are shown as they are.")
        notes.append("How much each backbone was tuned, and on which data, is not in the table and in no interval.")
        return notes


def _check(row: Mapping[str, Any], where: str) -> None:
    for name in ("task", "backbone"):
        if row[name] in (None, ""):
            raise InvalidScores(f"{where}: {name} is missing")
    score = row["score"]
    if not isinstance(score, int | float) or not math.isfinite(score):
        raise InvalidScores(f"{where}: score must be a finite number, got {score!r}; leave out what was not measured")
    if score > 1:
        raise InvalidScores(f"{where}: score must be at most 1, got {score:g}; points of 100 are divided by 100")
    if row.get("correct") is not None and row.get("example_scores") is not None:
        raise InvalidScores(f"{where}: only one of correct and example_scores may be given")
    chance = row.get("chance")
    if chance is not None and not 0 <= chance < 1:
        raise InvalidScores(f"{where}: chance must lie in [0, 1), got {chance}")


def _unique(task: str, backbone: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    seeds = [row.get("seed") for row in rows]
    if len(set(seeds)) < len(seeds):
        raise InvalidScores(
            f"task {task!r}, backbone {backbone!r}: {len(seeds)} rows and {len(set(seeds))} different seeds; "
            "runs of a backbone need a column seed with a value of its own for each"
        )
    return sorted(rows, key=lambda row: (row.get("seed") is not None, row.get("seed")))


def _chance(task: str, rows: Sequence[Mapping[str, Any]]) -> float:
    levels = {row.get("chance") for row in rows}
    if len(levels) > 1:
        raise InvalidScores(f"task {task!r}: chance must be the same in all rows, got {sorted(levels, key=str)}")
    (level,) = levels
    return 0.0 if level is None else float(level)


def _examples(task: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Array]:
    """Backbone -> per-example scores of its runs, (r, num_test); empty where a run of the task lacks them."""
    found = {
        name: [_of_run(row, f"task {task!r}, backbone {name!r}") for row in of_one] for name, of_one in runs.items()
    }
    everything = [values for of_one in found.values() for values in of_one]
    known = [values for values in everything if values is not None]
    if len(known) < len(everything):
        return {}
    sizes = sorted({values.size for values in known})
    if len(sizes) > 1 or sizes[0] == 0:
        raise InvalidScores(f"task {task!r}: all runs need results of the same test examples, got numbers {sizes}")
    return {name: np.stack([values for values in of_one if values is not None]) for name, of_one in found.items()}


def _of_run(row: Mapping[str, Any], where: str) -> Array | None:
    given = row.get("correct") if row.get("example_scores") is None else row["example_scores"]
    if given is None:
        return None
    if not isinstance(given, str | list) or (isinstance(given, str) and set(given) - {"0", "1"}):
        raise InvalidScores(
            f"{where}: correct must be a text of 0 and 1 or a list, example_scores a list, got {str(given)[:20]!r}"
        )
    values = np.array(list(given), dtype=np.float64)  # of a null NaN
    if not np.isfinite(values).all():
        raise InvalidScores(f"{where}: example_scores must be finite")
    # Half a unit of the last of three digits: published scores are rounded.
    if values.size and abs(float(values.mean()) - row["score"]) > 0.0005 + 1e-9:
        raise InvalidScores(
            f"{where}: the mean of the per-example results is {values.mean():.4f}, the score {row['score']:.4f}"
        )
    return values
