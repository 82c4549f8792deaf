"""Points on MLflow's charts, from rows of the records. Pure.

What is measured once is logged at step 0 (a step of 1 or more would be drawn as a line of one point), what
is measured every epoch at the epoch. Values are rounded to 6 significant digits, as MLflow prints them all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.workers.request import SEARCHED

__all__ = [
    "EPOCH_GROUPS",
    "Point",
    "best_metrics",
    "epoch_points",
    "final_points",
    "finite",
    "milliseconds",
    "model_points",
    "parent_points",
    "rounded",
]

EPOCH_GROUPS: Final = ("train/", "val/", "time/", "system/")
"""First part of the names of metrics with one point per epoch; all others are at step 0."""

_TRIAL: Final = {
    "best_epoch": "best_epoch",
    "train_s": "train_s",
    "duration_s": "duration_s",
    "num_params_trainable": "trainable_params",
    "memory_mib": "peak_mem_mib",
    "num_attempts": "attempts",
}
_MEASURES: Final = ("score", "loss", "accuracy", "f1_macro", "r2", "mae")
"""What validation and test say of a run; what the kind of task does not have is null, and no point."""

_VALIDATION: Final = tuple(f"val_{name}" for name in _MEASURES)
_TEST: Final = (*(f"test_{name}" for name in _MEASURES), "test_mse", "perturbed_score")
_MODEL: Final = {
    "score": "adapt/score",
    "ci_low": "adapt/ci_low",
    "ci_high": "adapt/ci_high",
    "rank": "adapt/rank",
    "rank_low": "adapt/rank_low",
    "rank_high": "adapt/rank_high",
    "p_best": "adapt/best",
    "quality": "adapt/quality",
    "ease": "adapt/ease",
    "data_efficiency": "adapt/few_labels",
    "robustness": "adapt/perturbed",
    "weight_stability": "adapt/stability",
    "num_trials": "adapt/num_trials",
    "num_confirmations": "adapt/num_confirmations",
    "num_failed": "adapt/num_failed",
    "num_superseded": "adapt/num_superseded",
    "coverage": "adapt/coverage",
    "cost_s": "adapt/cost_s",
    "run_cost_s": "adapt/run_cost_s",
    "best_freeze_depth": "adapt/freeze_depth",
    "best_learning_rate": "adapt/lr",
    "confirmation_mean": "final/test_score",
    "confirmation_sd": "final/test_score_sd",
}
_SYSTEM: Final = {
    "cpu_cores": "system/cpu_cores",
    "host_memory_mib": "system/memory_mib",
    "gpu_memory_mib": "system/gpu_mem_mib",
    "gpu_utilization": "system/gpu_util",
}
_LESS_IS_BETTER: Final = frozenset({"val_loss", "val_mae"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One value of one metric. NaN and infinity are allowed here and taken out by `finite`."""

    key: str
    value: float
    step: int
    timestamp_ms: int


def milliseconds(moment: datetime | None) -> int:
    """Milliseconds since 1970, as MLflow counts; now where the record has no time."""
    return int((moment or datetime.now(UTC)).timestamp() * 1000)


def epoch_points(row: Mapping[str, Any]) -> list[Point]:
    """Of one EPOCHS row."""
    seconds = [row[name] for name in ("train_s", "eval_s") if row.get(name) is not None]
    values = {
        "train/loss": row.get("train_loss"),
        **{f"val/{name}": row.get(f"val_{name}") for name in _MEASURES if name != "score"},
        "time/epoch_s": sum(seconds) if seconds else None,
        "time/elapsed_s": row.get("elapsed_s"),
        **{key: row.get(name) for name, key in _SYSTEM.items()},
    }
    return _points(values, step=int(row["epoch"]), moment=row.get("finished_at"))


def final_points(trial: Mapping[str, Any], test: Mapping[str, Any] | None) -> list[Point]:
    """Of one TRIALS row. A failed trial has no result to compare.

    Test scores go on runs of what was chosen alone, so that nobody picks a configuration by them.
    """
    values = {f"final/{short}": trial.get(name) for name, short in _TRIAL.items()}
    if trial["state"] != "failed":
        values |= {f"final/{name}": trial.get(name) for name in _VALIDATION}
    if trial["phase"] not in SEARCHED and test is not None:
        values |= {f"final/{name}": test.get(name) for name in _TEST}
    return _points(values, step=0, moment=trial.get("finished_at"))


def model_points(row: Mapping[str, Any], more: Mapping[str, float] | None = None) -> list[Point]:
    """Of one RANKING row, with `more` metrics by key, on the backbone's summary run."""
    values = {**(more or {}), **{key: row.get(name) for name, key in _MODEL.items()}}
    if row.get("best_freeze_depth") is not None and row.get("num_blocks"):
        values["adapt/freeze_frac"] = row["best_freeze_depth"] / row["num_blocks"]
        if row["best_tune_stop"] < row["num_blocks"]:
            values["adapt/tune_stop"] = row["best_tune_stop"]
    return _points(values, step=0, moment=None)


def best_metrics(trials: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Best over the search trials of a task that did not fail, by task: ``best/val_accuracy``.

    Args:
        trials: TRIALS rows of whatever phase.
    """
    best: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for trial in trials:
        if trial["state"] == "failed" or trial["phase"] not in SEARCHED:
            continue
        of_task = best[trial["task"]]
        for name in _VALIDATION:
            value, key = trial.get(name), f"best/{name}"
            if value is not None and math.isfinite(value):
                better = min if name in _LESS_IS_BETTER else max
                of_task[key] = better(value, of_task.get(key, value))
    return dict(best)


def parent_points(rows: Iterable[Mapping[str, Any]], best: Mapping[str, float]) -> list[Point]:
    """On the sweep's own run: the `best` over trials, and the best score among RANKING rows."""
    scores = [row["score"] for row in rows if row["score"] is not None]
    return _points({**best, "best/score": max(scores, default=None)}, step=0, moment=None)


def finite(points: Iterable[Point]) -> tuple[list[Point], list[str]]:
    """What can be drawn, and a word on each point that cannot: ``train/loss@3=nan``.

    MLflow would store infinity as 1.8e308, which ruins the axis of every run beside it.
    """
    kept, dropped = [], []
    for point in points:
        if math.isfinite(point.value):
            kept.append(point)
        else:
            dropped.append(f"{point.key}@{point.step}={point.value}")
    return kept, dropped


def _points(values: Mapping[str, Any], *, step: int, moment: datetime | None) -> list[Point]:
    timestamp_ms = milliseconds(moment)
    return [
        Point(key=key, value=rounded(value), step=step, timestamp_ms=timestamp_ms)
        for key, value in values.items()
        if value is not None
    ]


def rounded(value: float) -> float:
    """To what MLflow's tables have room for."""
    return float(value) if isinstance(value, int) else float(f"{float(value):.6g}")
