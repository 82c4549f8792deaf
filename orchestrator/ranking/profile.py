"""What there is to know of each backbone beside its place: sensitivity, cost, tuning curves, response surface.

All of it comes from the surface that the ranking itself is computed from, so that a figure never contradicts
the table above it. Scores are in the test metric's own unit.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.ranking.choice import coordinates
from orchestrator.ranking.cost import cost_leaders, curve_rows, on_pareto_front, replayed, slice_rows
from orchestrator.ranking.options import RankingOptions
from orchestrator.ranking.rows import study_row
from orchestrator.ranking.schema import COST_LEADERS, DEPTH_CURVES, PROFILES, SURFACE_MAPS, TUNING_CURVES
from orchestrator.ranking.score import Evidence, fit_evidence, gather
from orchestrator.ranking.sensitivity import Grid, Range, lay_out, sensitivity
from orchestrator.ranking.study import read_studies

__all__ = ["ProfileTables", "profile_tables"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileTables:
    """All tables from one pass over the studies."""

    profiles: pa.Table
    """Schema PROFILES: a row per study, by task and backbone."""
    depth_curves: pa.Table
    """Schema DEPTH_CURVES: of each study with enough runs to be ranked, a row per depth."""
    surface_maps: pa.Table
    """Schema SURFACE_MAPS: of the same studies, a row per depth and learning rate; the probe's rate is null."""
    tuning_curves: pa.Table
    """Schema TUNING_CURVES: of the same studies, a row per estimator and number of trials."""
    cost_leaders: pa.Table
    """Schema COST_LEADERS: by task and spending."""


def profile_tables(trials: pa.Table, tests: pa.Table, options: RankingOptions | None = None) -> ProfileTables:
    """Profile every study in the tables.

    Args:
        trials: columns of TRIALS.
        tests: columns of TESTS.
        options: `confidence` and `seed` count here; RankingOptions() when left out.

    Raises:
        InvalidTable: as `rank` does.
    """
    options = options or RankingOptions()
    tables: dict[str, list[dict[str, Any]]] = {"profiles": [], "depths": [], "maps": [], "curves": []}
    for _, members in itertools.groupby(read_studies(trials, tests), key=lambda study: study.task):
        profiled = []
        for study in members:
            evidence = gather(study)
            name = {"task": study.task, "backbone": study.backbone}
            if evidence.reason is None:
                profiled.append(name | _profile(evidence, options, tables))
            else:
                profiled.append(name | {"quality": None, "cost_s": None})
        known = [row for row in profiled if row["quality"] is not None]
        front = on_pareto_front([(row["quality"], row["cost_s"]) for row in known])
        for row, is_on in zip(known, front, strict=True):
            row["on_pareto_front"] = is_on
        tables["profiles"] += profiled
    return ProfileTables(
        profiles=pa.Table.from_pylist(tables["profiles"], schema=PROFILES),
        depth_curves=pa.Table.from_pylist(tables["depths"], schema=DEPTH_CURVES),
        surface_maps=pa.Table.from_pylist(tables["maps"], schema=SURFACE_MAPS),
        tuning_curves=pa.Table.from_pylist(tables["curves"], schema=TUNING_CURVES),
        cost_leaders=pa.Table.from_pylist(cost_leaders(tables["curves"]), schema=COST_LEADERS),
    )


def _profile(evidence: Evidence, options: RankingOptions, tables: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The study's row of PROFILES, its place on the front apart; the rows of the other tables are added to them."""
    study, chosen, confidence = evidence.study, evidence.chosen, options.confidence
    assert chosen is not None  # it has evidence enough to be ranked
    name = {"task": study.task, "backbone": study.backbone}
    surface = fit_evidence(evidence)
    quality = float(surface.mean(coordinates([chosen]))[0])
    grid = lay_out(evidence, surface, options.seed)
    search = replayed(evidence, surface, options.seed)
    curves = curve_rows(search, confidence)
    curves += slice_rows(study, evidence.results[0].chance, search, confidence)
    tables["curves"] += [name | row for row in curves]
    tables["depths"] += [name | row for row in _depth_rows(grid, confidence)]
    tables["maps"] += [name | row for row in _map_rows(grid)]
    found = sensitivity(grid, confidence)
    num_trials = search.trials_to_within(quality)
    return {
        **_columns("lr_tolerance_decades", found.lr_tolerance_decades),
        **_columns("depth_cost", found.depth_cost),
        **_columns("probe_cost", found.probe_cost),
        "best_freeze_frac": found.best_freeze_frac,
        "quality": quality,
        "trial_cost_s": search.trial_cost_s,
        "cost_trials": num_trials,
        "cost_s": search.cost_s(num_trials),
        "run_cost_s": study_row(evidence)["run_cost_s"],
    }


def _columns(name: str, value: Range | None) -> dict[str, float | None]:
    ends = (None, None, None) if value is None else (value.value, value.low, value.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _depth_rows(grid: Grid, confidence: float) -> list[dict[str, Any]]:
    best = grid.best_at_depths()
    low, high = np.quantile(best, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    return [
        {"freeze_frac": frac, "score": float(score), "low": float(below), "high": float(above)}
        for frac, score, below, above in zip(grid.all_fracs(), best.mean(axis=0), low, high, strict=True)
    ]


def _map_rows(grid: Grid) -> list[dict[str, Any]]:
    means, sds = grid.tuned.mean(axis=0), grid.tuned.std(axis=0)
    rows: list[dict[str, Any]] = [
        {
            "freeze_frac": frac,
            "learning_rate": float(10.0**rate),
            "score": float(means[depth, place]),
            "sd": float(sds[depth, place]),
        }
        for depth, frac in enumerate(grid.fracs)
        for place, rate in enumerate(grid.rates)
    ]
    if grid.probe is not None:
        head = int(np.argmax(grid.probe.mean(axis=0)))
        at_best = grid.probe[:, head]
        rows.append({"freeze_frac": 1.0, "learning_rate": None, "score": at_best.mean(), "sd": at_best.std()})
    return rows
