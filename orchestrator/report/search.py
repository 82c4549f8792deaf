"""What the search of one backbone showed: its chosen configuration, tuning curve, depth and learning rate."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from orchestrator.report.configuration import chosen, importance
from orchestrator.report.document import Block, Figure, Missing, Table
from orchestrator.report.figures_study import (
    Array,
    Band,
    Surface,
    depth_curve,
    learning_curves,
    surface_map,
    tuning_curve,
)
from orchestrator.report.reading import Rows, StudyRecords
from orchestrator.report.wording import DASH, Scale, number, percent, rate, scale, seconds
from orchestrator.tracking.naming import blocks_text

__all__ = ["search_blocks"]

_MOST_DOTS: Final = 200
"""Trials drawn in a chart; an even share of more."""


def search_blocks(study: StudyRecords) -> list[Block]:
    """Everything of one backbone that its trials and confirmations show by themselves."""
    metric = scale(study.row["test_metric"])
    if study.row["chosen_number"] is None:
        return [
            Missing(
                what=f"A configuration of {study.short}",
                how=f"no trial was completed ({study.budget}); see the runs that failed for the reasons",
            )
        ]
    return [
        chosen(study),
        _tuning(study, metric),
        _depth(study, metric),
        _map(study, metric),
        _depth_table(study, metric),
        _epochs(study, metric),
        *importance(study),
    ]


def _column(rows: Rows, name: str, factor: float = 1.0) -> Array:
    return np.array([math.nan if row[name] is None else factor * row[name] for row in rows], dtype=np.float64)


def _band(rows: Rows, x: str, factor: float) -> Band | None:
    if not rows:
        return None
    rows = sorted(rows, key=lambda row: float(row[x]))
    y, low, high = (_column(rows, name, factor) for name in ("score", "low", "high"))
    return Band(x=_column(rows, x), y=y, low=low, high=high)


def _tuning(study: StudyRecords, metric: Scale) -> Block:
    of = {kind: [row for row in study.tuning_curve if row["estimator"] == kind] for kind in ("replay", "slice")}
    replay, slice_ = (_band(of[kind], "num_trials", metric.factor) for kind in ("replay", "slice"))
    if replay is None and slice_ is None:
        return Missing(what=f"A tuning curve of {study.short}", how=_too_few(study))
    by_count: dict[int, dict[str, str]] = defaultdict(dict)
    for row in study.tuning_curve:
        ends = "" if row["low"] is None else f" ({metric.text(row['low'])} to {metric.text(row['high'])})"
        by_count[row["num_trials"]][row["estimator"]] = f"{metric.text(row['score'])}{ends}"
        if row.get("cost_s") is not None:
            by_count[row["num_trials"]]["cost"] = seconds(row["cost_s"])
    num_random = sum(run["phase"] == "random" for run in study.search)
    return Figure(
        svg=tuning_curve(f"{study.anchor}-tuning", study.color, replay, slice_, f"test {metric.label}"),
        alt=f"Tuning curve of {study.short}: expected test score after 1, 2, 4, ... random trials, as in the table.",
        caption=f"Test score to expect of the validation-best of n random trials of {study.short}. Line: random search "
        f"replayed on the smoothed surface of {study.budget} and {study.seeds}; dots: the {num_random} random trials "
        "alone.",
        table=Table(
            caption="Tuning curve",
            columns=("random trials", "replay", "slice", "time, one after the other"),
            rows=tuple(
                (str(n), *(values.get(kind, DASH) for kind in ("replay", "slice", "cost")))
                for n, values in sorted(by_count.items())
            ),
        ),
    )


def _depth(study: StudyRecords, metric: Scale) -> Block:
    curve = _band(study.depth_curve, "freeze_frac", metric.factor)
    if curve is None:
        return Missing(what=f"Score against depth of {study.short}", how=_too_few(study))
    tried = _dots([run for run in _completed(study) if run["tune_stop"] == run["num_blocks"]])
    picked = next(run for run in study.runs if run["number"] == study.row["chosen_number"])
    return Figure(
        svg=depth_curve(
            f"{study.anchor}-depth",
            study.color,
            curve,
            (_column(tried, "freeze_frac"), _column(tried, "val_score", metric.factor)),
            picked["freeze_frac"],
            metric.label,
        ),
        alt=f"Score of {study.short} against the share of blocks frozen, learning rate tuned anew at each depth.",
        caption=f"Best score of {study.short} at each depth, learning rate tuned anew, with intervals, from "
        f"{study.budget} and {study.seeds}. Crosses: single trials on validation; those far below are cut off.",
        table=Table(
            caption="Score against depth",
            columns=("share frozen", metric.label, "interval"),
            rows=tuple(
                (
                    percent(row["freeze_frac"]),
                    metric.text(row["score"]),
                    DASH if row["low"] is None else f"{metric.text(row['low'])} to {metric.text(row['high'])}",
                )
                for row in sorted(study.depth_curve, key=lambda row: float(row["freeze_frac"]))
            ),
        ),
    )


def _map(study: StudyRecords, metric: Scale) -> Block:
    tuned = [row for row in study.surface_map if row["learning_rate"] is not None]
    if not tuned:
        return Missing(what=f"A map of depth and learning rate of {study.short}", how=_too_few(study))
    depths = sorted({row["freeze_frac"] for row in tuned})
    rates = sorted({row["learning_rate"] for row in tuned})
    scores = np.full((len(depths), len(rates)), math.nan)
    for row in tuned:
        scores[depths.index(row["freeze_frac"]), rates.index(row["learning_rate"])] = metric.factor * row["score"]
    probe = next((row for row in study.surface_map if row["learning_rate"] is None), None)
    surface = Surface(
        depths=np.array(depths),
        log_rates=np.log10(rates),
        scores=scores,
        probe=None if probe is None else (probe["freeze_frac"], metric.factor * probe["score"]),
    )
    tried = _dots([run for run in _completed(study) if run["learning_rate"] is not None])
    picked = next(run for run in study.runs if run["number"] == study.row["chosen_number"])
    spot = None if picked["learning_rate"] is None else math.log10(picked["learning_rate"])
    best = max(study.surface_map, key=lambda row: float(row["score"]))
    at = "as a linear probe" if best["learning_rate"] is None else f"at learning rate {rate(best['learning_rate'])}"
    return Figure(
        svg=surface_map(
            f"{study.anchor}-map",
            surface,
            (np.log10(_column(tried, "learning_rate")), _column(tried, "freeze_frac")),
            (picked["freeze_frac"], spot),
            f"test {metric.label}",
        ),
        alt=f"Smoothed test score of {study.short} over depth and learning rate; best {metric.text(best['score'])} "
        f"with {percent(best['freeze_frac'])} of the blocks frozen {at}.",
        caption=f"Smoothed test score of {study.short} over depth and learning rate; light is better. Dots: completed "
        f"trials; star: the chosen configuration. From {study.budget} and {study.seeds}.",
    )


def _depth_table(study: StudyRecords, metric: Scale) -> Block:
    by_depth: dict[tuple[int, int], Rows] = defaultdict(list)
    for run in _completed(study):
        by_depth[run["freeze_depth"], run["tune_stop"]].append(run)
    rows = []
    for (depth, stop), runs in sorted(by_depth.items()):
        best = max(runs, key=lambda run: float(run["val_score"]))
        rows.append(
            (
                blocks_text(depth, stop, best["num_blocks"]),
                str(len(runs)),
                metric.text(best["val_score"]),
                rate(best["learning_rate"]),
                seconds(_median(runs, "train_s")),
                seconds(_median(runs, "duration_s")),
                percent(_share(best)),
            )
        )
    return Table(
        caption=f"Depth, quality and time of {study.short}: completed trials, best on validation "
        f"({best['num_val'] or '?'} samples), median times",
        columns=(
            *("frozen / blocks", "trials", f"best validation {metric.label}", "its learning rate"),
            *("training", "whole trial", "trainable parameters"),
        ),
        rows=tuple(rows),
    )


def _epochs(study: StudyRecords, metric: Scale) -> Block:
    curves = [(run, study.epochs.get(run["number"], [])) for run in study.confirmations]
    curves = [(run, sorted(rows, key=lambda row: int(row["epoch"]))) for run, rows in curves if rows]
    if not curves:
        return Missing(
            what=f"Learning curves of {study.short}", how="none of its confirmations was completed; resume the sweep"
        )
    seeds = [run["seed"] for run, _ in curves]
    return Figure(
        svg=learning_curves(
            f"{study.anchor}-epochs",
            study.color,
            [(_column(rows, "epoch"), _column(rows, "val_score", metric.factor)) for _, rows in curves],
            [(_column(r, "epoch"), _column(r, "train_loss"), _column(r, "val_loss")) for _, r in curves],
            f"validation {metric.label}",
        ),
        alt=f"Learning curves of {len(curves)} confirmations of {study.short}: validation score and losses by epoch.",
        caption=f"Confirmations of {study.short}, a line each: {study.seeds}. Right: training loss "
        "dashed, validation loss solid.",
        table=Table(
            caption="The last epoch of each confirmation",
            columns=("seed", "epochs", f"validation {metric.label}", "best epoch", "training loss", "validation loss"),
            rows=tuple(
                (
                    str(seed),
                    str(rows[-1]["epoch"]),
                    metric.text(rows[-1]["val_score"]),
                    number(run["best_epoch"]),
                    number(rows[-1]["train_loss"]),
                    number(rows[-1]["val_loss"]),
                )
                for seed, (run, rows) in zip(seeds, curves, strict=True)
            ),
        ),
    )


def _too_few(study: StudyRecords) -> str:
    return study.row["reason"] or f"it takes completed trials and confirmations; there were {study.budget}"


def _completed(study: StudyRecords) -> Rows:
    return [run for run in study.search if run["state"] == "completed" and run["val_score"] is not None]


def _dots(runs: Rows) -> Rows:
    step = max(1, math.ceil(len(runs) / _MOST_DOTS))
    return runs[::step]


def _median(runs: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [run[name] for run in runs if run[name] is not None]
    return float(np.median(values)) if values else None


def _share(run: dict[str, Any]) -> float | None:
    if not run["num_params"] or run["num_params_trainable"] is None:
        return None
    return float(run["num_params_trainable"] / run["num_params"])
