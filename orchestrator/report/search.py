"""What the search of one backbone showed: its chosen configuration, tuning curve, depth and learning rate."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from orchestrator.report.configuration import importance
from orchestrator.report.document import Block, Figure, Missing, Table
from orchestrator.report.figures_study import (
    Array,
    Band,
    Epochs,
    Surface,
    depth_curve,
    learning_curves,
    surface_map,
    tuning_curve,
)
from orchestrator.report.studies import Rows, StudyRecords
from orchestrator.report.wording import DASH, Scale, frozen, listed, number, percent, plural, rate, scale, seconds

__all__ = ["search_blocks"]

_MOST_DOTS: Final = 200
"""Trials drawn in a chart; an even share of more."""


def search_blocks(study: StudyRecords) -> list[Block]:
    """Everything of one backbone that its trials and confirmations show by themselves."""
    metric = scale(study.row["test_metric"])
    if study.row["chosen_number"] is None:
        return [
            Missing(
                what="A configuration",
                of=study.short,
                how=f"no trial was completed ({study.budget}); see the runs that failed for the reasons",
            )
        ]
    return [
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
        return Missing(what="A tuning curve", of=study.short, how=_too_few(study))
    by_count: dict[int, dict[str, str]] = defaultdict(dict)
    for row in study.tuning_curve:
        for name in ("score", "low", "high"):
            by_count[row["num_trials"]][f"{row['estimator']} {name}"] = metric.text(row[name])
        if row.get("cost_s") is not None:
            by_count[row["num_trials"]]["cost"] = seconds(row["cost_s"])
    kinds = [kind for kind, rows in of.items() if rows]
    names = [f"{kind} {name}" for kind in kinds for name in ("score", "low", "high")]
    first, last = (_said(of["replay"] or of["slice"], end, metric) for end in (min, max))
    num_random = sum(run["phase"] == "random" for run in study.search)
    return Figure(
        svg=tuning_curve(f"{study.anchor}-tuning", study.color, replay, slice_, f"test {metric.label}"),
        alt=f"Expected test {metric.label} of {study.short}: {first}, {last}.",
        caption=f"Test {metric.label} to expect of the validation-best of so many random trials of {study.short}. "
        "Line: random search replayed on the surface that its runs were smoothed to; dots: its random trials alone.",
        basis=study.basis(
            num=f"{plural(num_random, 'random trial')}, {study.num_test}",
            unmeasured="what the guided search would have found after as many; more trials than the line has",
        ),
        table=Table(
            caption="Tuning curve: by replay, and by the random trials alone (slice)",
            columns=(
                "random trials",
                *(title for kind in kinds for title in (kind, "low", "high")),
                "time, one after the other",
            ),
            rows=tuple(
                (str(n), *(values.get(name, DASH) for name in names), values.get("cost", DASH))
                for n, values in sorted(by_count.items())
            ),
        ),
    )


def _depth(study: StudyRecords, metric: Scale) -> Block:
    curve = _band(study.depth_curve, "freeze_frac", metric.factor)
    if curve is None:
        return Missing(what="Score against depth", of=study.short, how=_too_few(study))
    tried = _dots([run for run in _completed(study) if run["tune_stop"] == run["num_blocks"]])
    picked = next(run for run in study.runs if run["number"] == study.row["chosen_number"])
    rows = sorted(study.depth_curve, key=lambda row: float(row["freeze_frac"]))
    best = max(rows, key=lambda row: float(row["score"]))
    seen = listed([f"{metric.text(row['score'])} with {percent(row['freeze_frac'])}" for row in (rows[0], rows[-1])])
    num_depths = len({run["freeze_depth"] for run in _completed(study)})
    return Figure(
        svg=depth_curve(
            f"{study.anchor}-depth",
            study.color,
            curve,
            (_column(tried, "freeze_frac"), _column(tried, "val_score", metric.factor)),
            picked["freeze_frac"],
            metric.label,
        ),
        alt=f"Best {metric.label} of {study.short} by share of blocks frozen: {seen} frozen; highest "
        f"{metric.text(best['score'])} with {percent(best['freeze_frac'])}.",
        caption=f"Best score of {study.short} at each depth, learning rate tuned anew, with intervals; 0 tunes every "
        "block, 1 is a linear probe. Crosses: single trials on validation; those far below are cut off.",
        basis=study.basis(
            num=f"{plural(len(tried), 'trial')} at {plural(num_depths, 'depth')}, {study.num_test}",
            unmeasured="depths without a cross: the line is smoothed there",
        ),
        table=Table(
            caption="Score against depth",
            columns=("share frozen", metric.label, "low", "high"),
            rows=tuple(
                (percent(row["freeze_frac"]), *(metric.text(row[name]) for name in ("score", "low", "high")))
                for row in rows
            ),
        ),
    )


def _map(study: StudyRecords, metric: Scale) -> Block:
    tuned = [row for row in study.surface_map if row["learning_rate"] is not None]
    if not tuned:
        return Missing(what="A map of depth and learning rate", of=study.short, how=_too_few(study))
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
        "trials; star: the chosen configuration.",
        basis=study.basis(
            num=f"{plural(len(tried), 'completed trial')}, {study.num_test}",
            unmeasured="places far from a dot: their colour is a guess from the others",
        ),
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
                frozen(depth, stop, best["num_blocks"]),
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
            *("frozen", "trials", f"best validation {metric.label}", "its learning rate"),
            *("training", "whole trial", "trainable parameters"),
        ),
        rows=tuple(rows),
    )


def _epochs(study: StudyRecords, metric: Scale) -> Block:
    curves = [(run, study.epochs.get(run["number"], [])) for run in (*study.confirmations, *study.fallen)]
    curves = [(run, sorted(rows, key=lambda row: int(row["epoch"]))) for run, rows in curves if rows]
    if not curves:
        how = "none of its confirmations was completed; resume the sweep"
        return Missing(what="Learning curves", of=study.short, how=how)
    ends = [metric.text(rows[-1]["val_score"]) for _, rows in curves]
    num_val = curves[0][0]["num_val"]
    return Figure(
        svg=learning_curves(
            f"{study.anchor}-epochs",
            study.color,
            [
                Epochs(
                    epoch=_column(rows, "epoch"),
                    score=_column(rows, "val_score", metric.factor),
                    train_loss=_column(rows, "train_loss"),
                    val_loss=_column(rows, "val_loss"),
                    collapsed=run["number"] in study.collapsed,
                )
                for run, rows in curves
            ],
            f"validation {metric.label}",
        ),
        alt=f"Confirmations of {study.short} by epoch: validation {metric.label} of {listed(ends)} after the last of "
        f"{curves[0][1][-1]['epoch']} epochs.",
        caption=f"Confirmations of {study.short}, a line each. Left: validation {metric.label}. Right: training loss "
        "dashed, validation loss solid.",
        basis=study.basis(
            num=plural(num_val, "validation sample") if num_val else "an unknown number of validation samples",
            unmeasured="the test set by epoch: it is looked at once, at the end",
        ),
        table=Table(
            caption="The last epoch of each confirmation",
            columns=("seed", "epochs", f"validation {metric.label}", "best epoch", "training loss", "validation loss"),
            rows=tuple(
                (
                    f"{run['seed']}{' (collapsed)' if run['number'] in study.collapsed else ''}",
                    str(rows[-1]["epoch"]),
                    metric.text(rows[-1]["val_score"]),
                    number(run["best_epoch"]),
                    number(rows[-1]["train_loss"]),
                    number(rows[-1]["val_loss"]),
                )
                for run, rows in curves
            ),
        ),
    )


def _said(rows: Rows, end: Callable[..., Any], metric: Scale) -> str:
    """``71.2 after 1`` of the first or last row of a tuning curve."""
    row = end(rows, key=lambda row: int(row["num_trials"]))
    return f"{metric.text(row['score'])} after {plural(row['num_trials'], 'random trial')}"


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
