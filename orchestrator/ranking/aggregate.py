"""One table over many tasks: the fixed panel, with its intervals, and other aggregators beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.ranking.aggregators import AGGREGATORS, LOWER_IS_BETTER, interquartile_mean
from orchestrator.ranking.claims import Claims, TaskScores, own_interval
from orchestrator.ranking.interval import Array
from orchestrator.ranking.options import RankingOptions
from orchestrator.ranking.result import Ranking
from orchestrator.ranking.schema import AGGREGATE, PAIRS
from orchestrator.ranking.verdict import listed

__all__ = ["Aggregate", "TooFewTasks", "aggregate", "panel"]

_MIN_IQM_TASKS = 8
_HALF_NORMAL_MEAN = math.sqrt(2 / math.pi)  # of |z|; its mean square is 1


class TooFewTasks(ValueError):
    """There is nothing to aggregate: fewer than two tasks have a ranking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregate:
    """What `aggregate` returns."""

    table: pa.Table
    """Schema AGGREGATE: a row per backbone, complete ones by anchored mean, then incomplete ones by name."""
    pairs: pa.Table
    """Schema PAIRS over the complete ones; its task is the empty string. Empty where a task's errors are unknown."""
    winners: Mapping[str, tuple[str, ...]]
    """Aggregator -> who is first by it; several where they are equal."""
    sentences: tuple[str, ...]
    """The outcome in words."""


def aggregate(ranking: Ranking) -> Aggregate:
    """Aggregate a ranking of two or more tasks.

    The claim is about these tasks, not about others like them. Backbones that lack a task are never averaged
    over the rest of them, where they might have met the easy ones only: they are listed with what they lack.

    Raises:
        TooFewTasks: fewer than two tasks have anyone ranked.
    """
    tasks = ranking.scores
    if len(tasks) < 2:
        raise TooFewTasks(f"aggregating takes at least two ranked tasks, got {len(tasks)}")
    everyone = sorted(set(ranking.table["backbone"].to_pylist()))
    missing = {name: tuple(task.task for task in tasks if name not in task.backbones) for name in everyone}
    complete = [name for name in everyone if not missing[name]]
    broken = _broken(ranking.table.to_pylist())
    rows = [
        {"backbone": name, "status": "incomplete", "missing_tasks": missing[name], "broken_tasks": broken.get(name, [])}
        for name in everyone
        if missing[name]
    ]
    if not complete:
        words = ("No backbone has a score on every task: there is nothing to aggregate.",)
        return Aggregate(table=_table(rows), pairs=PAIRS.empty_table(), winners={}, sentences=words)
    matrix = np.array([[task.scores[task.backbones.index(name)] for name in complete] for task in tasks])
    values = {name: _rounded(method(matrix)) for name, method in AGGREGATORS.items()}
    winners = {name: _first(complete, values[name], name in LOWER_IS_BETTER) for name in AGGREGATORS}
    claims = Claims(panel(tasks, complete), ranking.options)
    ranked = _rows(claims, ranking.options, complete, matrix, values, broken)
    return Aggregate(
        table=_table(ranked + rows),
        pairs=pa.Table.from_pylist(claims.pairs() if claims.given.has_errors else [], schema=PAIRS),
        winners=winners,
        sentences=(
            *_sentences(claims, winners, missing, broken, ranking.options.confidence, len(tasks)),
            *_unlike(ranking, [task.task for task in tasks]),
        ),
    )


def panel(tasks: Sequence[TaskScores], backbones: Sequence[str]) -> TaskScores:
    """Mean scores of backbones that every task has, and the covariance of their errors: sum of Sigma_d / D^2.

    Tasks have test sets and runs of their own, so their errors are independent. Regrets are half-normal, all of
    one sign, and add up: the mean square of their mean holds the products of their means as well.
    """
    num = len(tasks)
    places = [[task.backbones.index(name) for name in backbones] for task in tasks]
    parts = list(zip(tasks, places, strict=True))
    scores = np.mean([task.scores[at] for task, at in parts], axis=0)
    squares = np.array([task.regret_squares[at] for task, at in parts])
    means = _HALF_NORMAL_MEAN * np.sqrt(squares)
    regret = (squares.sum(axis=0) + means.sum(axis=0) ** 2 - (means**2).sum(axis=0)) / num**2
    order = np.argsort(-scores, kind="stable")
    examples = np.sum([task.examples[np.ix_(at, at)] for task, at in parts], axis=0) / num**2
    return TaskScores(
        task="",
        backbones=tuple(backbones[place] for place in order),
        scores=scores[order],
        seed_variances=np.sum([task.seed_variances[at] for task, at in parts], axis=0)[order] / num**2,
        own_examples=np.sum([task.own_examples[at] for task, at in parts], axis=0)[order] / num**2,
        examples=examples[np.ix_(order, order)],
        regret_squares=regret[order],
        has_errors=all(task.has_errors for task in tasks),
    )


def _rows(
    claims: Claims,
    options: RankingOptions,
    complete: Sequence[str],
    matrix: Array,
    values: Mapping[str, Array],
    broken: Mapping[str, list[str]],
) -> list[dict[str, Any]]:
    given = claims.given
    iqm = interquartile_mean(matrix) if len(matrix) >= _MIN_IQM_TASKS else None
    rows = []
    for index, name in enumerate(given.backbones):
        column = complete.index(name)
        rows.append(
            {
                "backbone": name,
                "status": "complete",
                "missing_tasks": (),
                "broken_tasks": broken.get(name, []),
                "rank": claims.ranks[index],
                "interquartile_mean": None if iqm is None else float(iqm[column]),
            }
            | {method: float(value[column]) for method, value in values.items()}
        )
        if given.has_errors:
            ci_low, ci_high = own_interval(
                float(given.scores[index]),
                float(given.own_variances[index]),
                options.confidence,
                regret_square=float(given.regret_squares[index]),
            )
            rows[-1] |= {
                "rank_low": int(claims.attainable.low[index]),
                "rank_high": int(claims.attainable.high[index]),
                "p_best": float(claims.p_best[index]),
                "ci_low": ci_low,
                "ci_high": ci_high,
            }
    return rows


def _broken(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Backbone -> the tasks on which its score says more of a fault than of the backbone."""
    found: dict[str, list[str]] = {}
    for row in rows:
        at_chance = row["status"] == "ranked" and row["ci_low"] is not None and row["ci_low"] <= 0
        collapsed = row["num_confirmations"] > 0 and 2 * row["num_collapsed"] >= row["num_confirmations"]
        failed = row["num_trials"] > 0 and 2 * row["num_failed"] > row["num_trials"]
        if at_chance or collapsed or failed:
            found.setdefault(row["backbone"], []).append(row["task"])
    return found


def _sentences(
    claims: Claims,
    winners: Mapping[str, tuple[str, ...]],
    missing: Mapping[str, tuple[str, ...]],
    broken: Mapping[str, list[str]],
    confidence: float,
    num_tasks: int,
) -> list[str]:
    given = claims.given
    leaders = [name for name, low in zip(given.backbones, claims.attainable.low, strict=True) if low == 1]
    over = f"Over these {num_tasks} tasks"
    if not given.has_errors:
        lines = [
            f"{over} {listed(winners['anchored_mean'])} scores highest of {len(given.backbones)} backbones; whether "
            "that is more than luck cannot be said, as not every task has seeds or per-example results."
        ]
    else:
        lines = [_leading(over, given.backbones, leaders, confidence)]
    if len({frozenset(names) for names in winners.values()}) > 1:
        ways = "; ".join(f"{method.replace('_', ' ')}: {listed(names)}" for method, names in winners.items())
        lines.append(f"The winner depends on how tasks are put together. {ways}. Scores count, the others are shown.")
    lines += [
        f"{name} has no score on {listed(lacks)}, so it is in no mean." for name, lacks in missing.items() if lacks
    ]
    lines += [
        f"{name} looks broken on {listed(on)}: at chance, or most of its runs failed or collapsed."
        for name, on in broken.items()
    ]
    return lines


def _unlike(ranking: Ranking, tasks: Sequence[str]) -> list[str]:
    """Where the scores of tasks are made of different conditions, which."""
    made_of = {verdict.task: verdict.measured for verdict in ranking.verdicts if verdict.task in tasks}
    if len(set(made_of.values())) < 2:
        return []
    each = "; ".join(f"{listed(names)} on {task}" for task, names in made_of.items())
    return [f"The scores are not made of the same on every task: {each}."]


def _leading(over: str, backbones: Sequence[str], leaders: Sequence[str], confidence: float) -> str:
    if len(leaders) == 1:
        return f"{over} {leaders[0]} is the best of {len(backbones)} backbones at {confidence:.0%} confidence."
    return (
        f"{over} {backbones[0]} scores highest, but {listed(leaders)} cannot be told apart as the best "
        f"at {confidence:.0%} confidence."
    )


def _rounded(values: Array) -> Array:
    """Equal ones tie instead of differing in the last bit."""
    return np.asarray(np.round(values, 9), dtype=np.float64) + 0.0


def _first(names: Sequence[str], values: Array, lower_is_better: bool) -> tuple[str, ...]:
    best = values.min() if lower_is_better else values.max()
    return tuple(name for name, value in zip(names, values, strict=True) if value == best)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=AGGREGATE)
