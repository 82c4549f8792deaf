"""What was measured of confirmations, as MLflow shows it: short metrics, tables and pictures.

A run's metrics are what one would compare backbones by; everything else (a row per class, per bin of the
reliability curve, per perturbation and strength) is in the table ``measures.json``.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from orchestrator.errors import one_line, redact
from orchestrator.evaluated import Evaluated
from orchestrator.tracking.metric import Point, milliseconds, rounded
from orchestrator.tracking.naming import split_study
from orchestrator.tracking.pictures import log_pictures
from orchestrator.tracking.store import Store, StoredRun

__all__ = [
    "confusion_table",
    "is_logged",
    "log_evaluated",
    "measure_points",
    "measure_table",
    "metric_key",
    "model_metrics",
    "shown_pictures",
]

_LOGGED_TAG: Final = "orchestrator.evaluation"
_ERROR_TAG: Final = "orchestrator.evaluation_error"
_TABLES_TAG: Final = "mlflow.loggedArtifacts"
_MAX_ERROR: Final = 250

_ELSEWHERE: Final = frozenset(
    {
        *((name, "test") for name in ("score", "loss", "accuracy", "f1_macro", "r2", "mae", "mse")),
        ("num_params_trainable", "test"),
    }
)
"""What the run has from its own tables under another name."""

_SHORT: Final = {
    "flops_forward": "flops",
    "flops_train_step": "flops_step",
    "balanced_accuracy": "balanced_acc",
    "score_before": "probe_score",
    "accuracy_before": "probe_accuracy",
    "robust_drop": "robust",
    "attacked_accuracy": "attacked",
    "faithfulness": "faithful",
}
"""Headers of MLflow's tables show about 12 characters."""

_BY_CONDITION: Final = frozenset(
    {"robust_drop", "attacked_accuracy", "faithfulness", "randomised_similarity", "fidelity_r2", "ece", "nll", "brier"}
)
"""Names of which each condition is a metric of its own; of others only the row without a condition is one."""

_UNSAFE: Final = re.compile(r"[^\w.-]+")


def metric_key(measure: Mapping[str, Any]) -> str | None:
    """``final/ece``, ``final/robust_blur``, ``final/loss_train``; None of a row that is in the table alone."""
    name, split, condition = measure["name"], measure["split"], measure["condition"]
    if (name, split) in _ELSEWHERE or (condition and name not in _BY_CONDITION):
        return None
    if condition.startswith(("class:", "bin:")):
        return None
    parts = [_SHORT.get(name, name), *([condition] if condition else []), *([] if split == "test" else [split])]
    return "final/" + _UNSAFE.sub("_", "_".join(parts))


def measure_points(measures: Iterable[Mapping[str, Any]], moment: datetime | None) -> list[Point]:
    """Of the MEASURES rows of one run."""
    timestamp_ms = milliseconds(moment)
    return [
        Point(key=key, value=rounded(measure["value"]), step=0, timestamp_ms=timestamp_ms)
        for measure in measures
        if (key := metric_key(measure)) is not None and measure["value"] is not None
    ]


def model_metrics(evaluations: Iterable[Evaluated], screen: pa.Table) -> dict[tuple[str, str], dict[str, float]]:
    """What a backbone's summary run shows beside its ranking, by task and backbone: means over its confirmations
    and, as ``screen/*``, what was foretold.

    Args:
        screen: columns of SCREEN.
    """
    values: defaultdict[tuple[str, str], defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for evaluated in evaluations:
        for point in measure_points(evaluated.measures, None):
            values[split_study(evaluated.study)][point.key].append(point.value)
    for row in screen.to_pylist():
        if row["value"] is not None:
            values[row["task"], row["backbone"]][f"screen/{row['name']}"].append(row["value"])
    return {model: {key: sum(all_) / len(all_) for key, all_ in found.items()} for model, found in values.items()}


def shown_pictures(evaluations: Iterable[Evaluated]) -> dict[tuple[str, str], Evaluated]:
    """Whose pictures stand for a backbone, by task and backbone: the first of its confirmations that has any."""
    found: dict[tuple[str, str], Evaluated] = {}
    for evaluated in sorted(evaluations, key=lambda one: one.number):
        if evaluated.captions:
            found.setdefault(split_study(evaluated.study), evaluated)
    return found


def measure_table(measures: Sequence[Mapping[str, Any]]) -> str:
    """Every row, as `mlflow.log_table` writes tables."""
    columns = ["name", "condition", "split", "value"]
    return _table(columns, [[measure[column] for column in columns] for measure in measures])


def confusion_table(evaluated: Evaluated) -> str:
    """Rows by true class, columns by answer."""
    rows = [[name, *counts] for name, counts in zip(evaluated.class_names, evaluated.confusion or (), strict=True)]
    return _table(["true", *evaluated.class_names], rows)


def is_logged(run: StoredRun) -> bool:
    """Whether a run has the tables, notes and pictures of its evaluation."""
    return run.tags.get(_LOGGED_TAG) == "logged"


def log_evaluated(store: Store, run: StoredRun, evaluated: Evaluated, timestamp_ms: int) -> None:
    """Put the tables, notes and pictures of a confirmation on its run, once: pictures as files with their captions,
    and for the sliders of MLflow's pages."""
    if is_logged(run):
        return
    tables = {"measures.json": measure_table(evaluated.measures)}
    if evaluated.confusion is not None:
        tables["confusion.json"] = confusion_table(evaluated)
    texts = {**tables, **({"notes.txt": "\n".join(evaluated.notes) + "\n"} if evaluated.notes else {})}
    for path, text in texts.items():
        store.log_text(run, text, path)
    for name, file in evaluated.picture_files.items():
        store.log_file(run, file, f"pictures/{name}")
    if evaluated.captions:
        store.log_text(run, json.dumps(dict(evaluated.captions), indent=2), "pictures/captions.json")
    log_pictures(store, run, evaluated, timestamp_ms)
    tags = {
        _TABLES_TAG: json.dumps([{"path": path, "type": "table"} for path in tables]),
        _LOGGED_TAG: "logged",
    }
    if evaluated.failures:
        tags[_ERROR_TAG] = one_line(redact("; ".join(evaluated.failures)))[:_MAX_ERROR]
    store.log(run, tags=tags)


def _table(columns: Sequence[str], data: Sequence[Sequence[Any]]) -> str:
    return json.dumps({"columns": list(columns), "data": [list(row) for row in data]})
