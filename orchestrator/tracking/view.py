"""Saved views of MLflow's comparison page, written as experiment tags.

The format is MLflow's own and undocumented (seen to work in 3.17): whoever writes these must expect them to
be ignored or refused, and still have a plain link to offer. They filter on one sweep, the one written last, and show
charts of what every backbone of it has.
"""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.tracking.chart import (
    SCORE,
    Sections,
    bar,
    columns,
    mean_curves,
    ranking_charts,
    ranking_columns,
    trial_charts,
)
from orchestrator.tracking.info import DatasetInfo, SweepInfo
from orchestrator.tracking.link import CURVES_VIEW, RANKING_VIEW, TABLE_VIEW, TRIALS_VIEW, view_key
from orchestrator.tracking.metric import finite, model_points

__all__ = ["View", "common_metrics", "decode", "saved_views", "view_tags"]

_MAX_TAG: Final = 20_000
_NAMESPACE: Final = uuid.UUID("6f6a1f0e-6d0b-5c8a-9d2e-7a3f0c9b1e55")
_ALL: Final = 1000  # runs a chart draws; MLflow's default of 10 hides whole backbones
_PAGE: Final = 100  # runs that MLflow's page loads at first
_FOLDED: Final = (
    *("adapt", "best", "final", "screen", "train", "val", "time", "model", "mlflow"),
    *("Model metrics", "System metrics"),  # as MLflow calls metrics without a group, and those of the group system
)
"""Sections of the charts that MLflow adds, one for each metric."""

_COLUMNS: Final = 2  # charts side by side: three are too narrow to read beside MLflow's own panels
_HEIGHT: Final = 300  # of a chart, in pixels
_WIDTH: Final = 115
_WIDE: Final = {"attributes.`Run Name`": 230, "params.`model`": 170, "tags.`orchestrator.error`": 320}
_NAME_COLUMN: Final = "attributes.`Run Name`"
_LAST_COLUMNS: Final = ("runDateAndNestInfo", "duration")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One entry of the page's Views menu."""

    name: str
    state: dict[str, Any]


def common_metrics(
    rows: Iterable[Mapping[str, Any]], more: Mapping[tuple[str, str], Mapping[str, float]]
) -> frozenset[str] | None:
    """Metrics that every ranked backbone's summary run has; None where no backbone was ranked.

    Args:
        rows: RANKING rows of one task.
        more: as `Published` has it.
    """
    found = [
        frozenset(point.key for point in finite(model_points(row, more.get((row["task"], row["backbone"]))))[0])
        for row in rows
        if row["score"] is not None
    ]
    return frozenset.intersection(*found) if found else None


def view_tags(info: SweepInfo, dataset: DatasetInfo | None, measured: Collection[str] | None = None) -> dict[str, str]:
    """The experiment tags that hold the views of a sweep on a task. The menu shows the latest first.

    Args:
        measured: metrics that every ranked backbone has; None before there is a ranking.
    """
    num_trials = int(info.facts.get("budget.trials", 0)) * len(info.backbones)
    views = saved_views(
        info.sweep_id,
        metric="accuracy" if dataset is None else dataset.metric,
        measured=measured,
        is_large=num_trials > _PAGE,
    )
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


def saved_views(
    sweep_id: str,
    *,
    metric: str = "accuracy",
    measured: Collection[str] | None = None,
    is_large: bool = False,
) -> tuple[View, ...]:
    """All that are shipped, in the menu's order, with charts of what the sweep has.

    Args:
        metric: the task's main metric.
        measured: metrics that every ranked backbone has; None before there is a ranking.
        is_large: whether there are more trials than MLflow's page loads at first. Ordered by their score those
            could be one backbone's alone; ordered by their names, which begin with their numbers, they are the
            first trials of each.
    """
    first = ("attributes.`run_name`", True) if is_large else (f"metrics.`{SCORE}`", False)
    best_first = (f"metrics.`{SCORE}`", False)
    shown = (
        *columns("metrics", SCORE),
        *columns("params", "model", "freeze_frac", "freeze_depth", "lr", "head_lr", "weight_decay"),
        *columns("metrics", "final/val_loss", "final/train_s", "final/peak_mem_mib"),
        *columns("tags", "orchestrator.state", "orchestrator.error"),
    )
    by_backbone = {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "model"}]}

    def trials(name: str, order: tuple[str, bool], charts: Sections, **more: Any) -> View:
        return View(name=name, state=_state(sweep_id, name, "trial", order, charts=charts, columns=shown, **more))

    ranking = _state(
        sweep_id,
        RANKING_VIEW,
        "model",
        ("metrics.`adapt/score`", False),
        charts=ranking_charts(measured),
        columns=ranking_columns(measured),
    )
    return (
        View(name=RANKING_VIEW, state=ranking),
        trials(TRIALS_VIEW, first, trial_charts(metric)),
        trials(CURVES_VIEW, first, mean_curves(metric), group=by_backbone),
        trials(TABLE_VIEW, best_first, {"Validation score": [bar(SCORE)]}),
    )


def _state(
    sweep_id: str,
    name: str,
    role: str,
    order: tuple[str, bool],
    *,
    charts: Sections,
    columns: Sequence[str],
    group: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The page's whole state: what is left out would be undefined, not at its default."""
    shown = {heading: _section(heading, shown=True) for heading, cards in charts.items() if cards}
    sections = [*shown.values(), *(_section(one, shown=False) for one in _FOLDED)]
    cards = [
        {
            **card,
            "uuid": _uuid(f"{name}/{heading}/{place}"),
            "metricSectionId": shown[heading]["uuid"],
            "deleted": False,
            "isGenerated": False,
            "runsCountToCompare": _ALL,
        }
        for heading in shown
        for place, card in enumerate(charts[heading])
    ]
    listed = (_NAME_COLUMN, *columns, *_LAST_COLUMNS)
    by, ascending = order
    return {
        "searchFilter": f"tags.`orchestrator.role` = '{role}' AND tags.`orchestrator.sweep_id` = '{sweep_id}'",
        "orderByKey": by,
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": list(listed),
        "columnWidths": {column: _WIDE.get(column, _WIDTH) for column in (_NAME_COLUMN, *columns)},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "groupBy": group,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
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
        "columns": _COLUMNS,
        "cardHeight": _HEIGHT,
    }


def _uuid(name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, name))
