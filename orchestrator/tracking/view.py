"""Saved views of MLflow's comparison page, written as experiment tags.

The format is MLflow's own and undocumented (seen to work in 3.17): whoever writes these must expect them to
be ignored or refused, and still have a plain link to offer. They filter on one sweep, the one written last.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.tracking.info import DatasetInfo, SweepInfo

__all__ = ["RANKING_VIEW", "TRIALS_VIEW", "View", "decode", "saved_views", "view_key", "view_tags"]

RANKING_VIEW: Final = "0 Ranking"
TRIALS_VIEW: Final = "1 All trials"
_MAX_TAG: Final = 20_000
_NAMESPACE: Final = uuid.UUID("6f6a1f0e-6d0b-5c8a-9d2e-7a3f0c9b1e55")
_ALL: Final = 1000  # runs a chart draws; MLflow's default of 10 hides whole backbones
_FOLDED: Final = ("adapt", "best", "final", "train", "val", "time")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One entry of the page's Views menu."""

    name: str
    state: dict[str, Any]


def view_key(name: str) -> str:
    """What ``viewStateShareKey=`` in an address names; stable, so a view is rewritten and never doubled."""
    return hashlib.sha256(f"orchestrator/{name}".encode()).hexdigest()[:32]


def view_tags(info: SweepInfo, dataset: DatasetInfo | None) -> dict[str, str]:
    """The experiment tags that hold the views of a sweep on a task. The menu shows the latest first."""
    views = saved_views(info.sweep_id, "classification" if dataset is None else dataset.kind)
    created_ms = int(info.created_at.timestamp() * 1000)
    tags = {}
    for place, view in enumerate(views):
        packed = base64.b64encode(zlib.compress(json.dumps(view.state).encode(), 9)).decode()
        content = {
            "name": view.name,
            "createdAt": created_ms + len(views) - place,
            "state": f"deflate;{packed}",
        }
        value = json.dumps(content)
        if len(value) > _MAX_TAG:
            raise ValueError(f"the view {view.name!r} takes {len(value)} characters, MLflow keeps {_MAX_TAG}")
        tags[f"mlflow.sharedViewState.{view_key(view.name)}"] = value
    return tags


def decode(value: str) -> View:
    """The view a tag holds."""
    content = json.loads(value)
    packed = str(content["state"]).removeprefix("deflate;")
    return View(name=content["name"], state=json.loads(zlib.decompress(base64.b64decode(packed))))


def saved_views(sweep_id: str, kind: str = "classification") -> tuple[View, ...]:
    """All that are shipped, in the menu's order, with the metrics that a `kind` of task has."""
    score = "final/val_score"
    measures = ("val/r2", "val/mae") if kind == "regression" else ("val/accuracy", "val/f1_macro")
    ranking = [
        _bar("adapt/score", "Score (0 = chance, 1 = perfect)"),
        _bar("adapt/best", "Probability of being the best"),
        _scatter("adapt/cost_s", "adapt/score", "Score against what the study cost"),
        _bar("final/test_score", "Test score of the confirmations"),
        _bar("adapt/cost_s", "Seconds spent"),
        _bar("adapt/freeze_frac", "Share of blocks frozen in the chosen configuration"),
        _bar("final/robust", "Change of the score on perturbed inputs"),
        *([] if kind == "regression" else [_bar("final/ece", "Calibration error (ECE)")]),
        _scatter("final/latency_s", "adapt/score", "Score against seconds for one sample"),
    ]
    trials = [
        _parallel(("model", "freeze_frac", "head_lr_log10"), (score,), "What was tried"),
        _parallel(("model", "freeze_frac", "lr_log10"), (score,), "Runs that tune blocks"),
        _scatter("final/train_s", score, "Validation score against training time"),
        _bar(score, "Validation score"),
        *(_line(name) for name in (*measures, "val/loss", "train/loss")),
    ]
    curves = [_line(name) for name in (*measures, "val/loss", "train/loss", "time/epoch_s")]
    grouped = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": "model"}],
    }
    trial_columns = (
        *_columns("params", "model", "freeze_frac", "freeze_depth", "lr", "head_lr", "weight_decay"),
        *_columns("metrics", score, "final/val_loss", "final/train_s", "final/peak_mem_mib"),
        *_columns("tags", "orchestrator.state", "orchestrator.error"),
    )
    ranking_columns = _columns(
        "metrics", "adapt/rank", "adapt/score", "adapt/ci_low", "adapt/ci_high", "adapt/rank_low",
        "adapt/rank_high", "adapt/best", "final/test_score", "final/robust", "final/ece", "final/latency_s",
        "adapt/num_trials", "adapt/num_failed", "adapt/cost_s",
    )  # fmt: skip
    return (
        View(
            name=RANKING_VIEW,
            state=_state(sweep_id, "model", "adapt/score", charts=ranking, columns=ranking_columns),
        ),
        View(name=TRIALS_VIEW, state=_state(sweep_id, "trial", score, charts=trials, columns=trial_columns)),
        View(
            name="2 Mean curves by backbone",
            state=_state(sweep_id, "trial", score, charts=curves, columns=trial_columns, group=grouped),
        ),
        View(
            name="3 Trials table",
            state=_state(sweep_id, "trial", score, charts=[_bar(score, "Validation score")], columns=trial_columns),
        ),
    )


def _state(
    sweep_id: str,
    role: str,
    order_by: str,
    *,
    charts: Sequence[dict[str, Any]],
    columns: Sequence[str],
    group: dict[str, Any] | None = None,
) -> dict[str, Any]:
    first = _section("Comparison", shown=True)
    sections = [first, *(_section(name, shown=False) for name in _FOLDED)]
    cards = [
        {
            **card,
            "uuid": _uuid(f"{role}/{order_by}/{bool(group)}/{place}"),
            "metricSectionId": first["uuid"],
            "deleted": False,
            "isGenerated": False,
            "runsCountToCompare": _ALL,
        }
        for place, card in enumerate(charts)
    ]
    return {
        "searchFilter": (f"tags.`orchestrator.role` = '{role}' AND tags.`orchestrator.sweep_id` = '{sweep_id}'"),
        "orderByKey": f"metrics.`{order_by}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": group,
        "groupsExpanded": {},
        "isAccordionReordered": True,
        "compareRunSections": sections,
        "compareRunCharts": cards,
    }


def _section(name: str, *, shown: bool) -> dict[str, Any]:
    return {
        "uuid": _uuid(f"section/{name}"),
        "name": name,
        "display": shown,
        "isReordered": False,
        "deleted": False,
        "isGenerated": not shown,
    }


def _bar(metric: str, title: str) -> dict[str, Any]:
    return {"type": "BAR", "metricKey": metric, "displayName": title}


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "range": {},
    }


def _scatter(x: str, y: str, title: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return {"type": "SCATTER", "displayName": title, **axes}


def _parallel(params: Sequence[str], metrics: Sequence[str], title: str) -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "displayName": title,
        "selectedParams": list(params),
        "selectedMetrics": list(metrics),
        "showAllRuns": True,
    }


def _columns(kind: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{kind}.`{name}`" for name in names)


def _uuid(name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, name))
