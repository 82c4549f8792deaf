"""The charts and columns of MLflow's saved views, in MLflow's own undocumented format.

Few, and only of what there is: an empty chart teaches people to skip the next one too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

__all__ = ["SCORE", "Sections", "bar", "columns", "mean_curves", "ranking_charts", "ranking_columns", "trial_charts"]

Sections = dict[str, list[dict[str, Any]]]
"""Charts under headings: MLflow titles a chart with its metrics' names, so that a heading has to say what they are."""

SCORE: Final = "final/val_score"
"""The metric by which trials compare."""


def ranking_charts(measured: Collection[str] | None) -> Sections:
    """Of summary runs, one for each backbone.

    Args:
        measured: metrics that every ranked backbone has; None before there is a ranking.
    """
    sections = {
        "adapt/score: 0 is chance, 1 is perfect": {
            "adapt/score": bar("adapt/score"),
            "final/test_score": bar("final/test_score"),
            "adapt/best": bar("adapt/best"),
            "adapt/cost_s": _scatter("adapt/cost_s", "adapt/score"),
        },
        "What was chosen, and measured of it": {
            "adapt/freeze_frac": bar("adapt/freeze_frac"),
            "adapt/perturbed": bar("adapt/perturbed"),
            "final/ece": bar("final/ece"),
            "final/latency_s": _scatter("final/latency_s", "adapt/score"),
        },
    }
    return {
        heading: [chart for needed, chart in charts.items() if _is_there(needed, measured)]
        for heading, charts in sections.items()
    }


def ranking_columns(measured: Collection[str] | None) -> tuple[str, ...]:
    """Of the same runs as a table: place, score with its interval, confirmed test score, and what it cost."""
    names = (
        *("adapt/rank", "adapt/score", "adapt/ci_low", "adapt/ci_high", "adapt/rank_low", "adapt/rank_high"),
        *("adapt/best", "final/test_score", "final/test_score_sd", "adapt/freeze_frac", "adapt/lr"),
        *("adapt/perturbed", "final/ece", "final/latency_s", "adapt/num_trials", "adapt/num_failed", "adapt/cost_s"),
    )
    return columns("metrics", *(name for name in names if _is_there(name, measured)))


def _is_there(metric: str, measured: Collection[str] | None) -> bool:
    """What depends on `evaluation` is left out until it is known to be there."""
    if metric in ("adapt/lr", "final/test_score_sd"):  # a fully frozen backbone and a single confirmation have none
        return True
    if measured is None:
        return metric not in ("adapt/perturbed", "final/ece", "final/latency_s")
    return metric in measured


def trial_charts(metric: str) -> Sections:
    """Of trials: what depth and learning rates did to the validation score.

    Args:
        metric: the task's main metric.
    """
    return {
        "Depth and learning rates": [
            _scatter("freeze_frac", SCORE, of="PARAM"),
            _scatter("lr_log10", SCORE, of="PARAM"),
            _scatter("head_lr_log10", SCORE, of="PARAM"),
            _scatter("final/train_s", SCORE),
        ],
        "Every trial": [
            _parallel(("model", "freeze_frac", "head_lr_log10"), (SCORE,)),
            _line(f"val/{metric}"),
        ],
    }


def mean_curves(metric: str) -> Sections:
    """Of trials in groups. Losses are on a logarithmic axis, as one trial that diverges would flatten all others."""
    return {
        "Means over trials not yet stopped": [
            _line(f"val/{metric}"),
            _line("val/loss", scale="log"),
            _line("train/loss", scale="log"),
        ]
    }


def bar(metric: str) -> dict[str, Any]:
    """A bar for each run."""
    return {"type": "BAR", "metricKey": metric}


def _line(metric: str, scale: str = "linear") -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": scale,
        "lineSmoothness": 0,
        "range": {},
    }


def _scatter(x: str, y: str, of: str = "METRIC") -> dict[str, Any]:
    """Of a metric, or with `of` a parameter, against a metric."""
    return {"type": "SCATTER", "xaxis": {"key": x, "type": of}, "yaxis": {"key": y, "type": "METRIC"}}


def _parallel(params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": list(metrics),
        "showAllRuns": True,
    }


def columns(kind: str, *names: str) -> tuple[str, ...]:
    """Identities of a table's columns: `kind` is ``params``, ``metrics`` or ``tags``."""
    return tuple(f"{kind}.`{name}`" for name in names)
