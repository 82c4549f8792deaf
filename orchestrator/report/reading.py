"""A sweep's folder as the report reads it: everything of a study in one place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from orchestrator.evaluated import read_evaluations
from orchestrator.folder import SweepFolder
from orchestrator.ranking import Ranking, superseded
from orchestrator.ranking.profile import profile_tables
from orchestrator.ranking.runs import REPEATS
from orchestrator.report.evaluations import MeasureSet, StudyEvaluations
from orchestrator.report.wording import listed
from orchestrator.screen_report import Foretold, foretold
from orchestrator.tracking.color import colors
from orchestrator.tracking.naming import short_names

if TYPE_CHECKING:
    from orchestrator.importance import Importance

__all__ = ["StudyRecords", "SweepRecords", "budgets", "read_sweep"]

Rows = list[dict[str, Any]]

_SHOWN: Final = [
    *("study", "number", "phase", "state", "error", "seed", "freeze_depth", "tune_stop", "num_blocks", "freeze_frac"),
    *("learning_rate", "head_learning_rate", "weight_decay", "layer_decay", "head_init", "stay_near", "batch_size"),
    *("max_epochs", "train_frac", "epochs", "best_epoch", "val_score", "num_val", "num_params"),
    *("num_params_trainable", "train_s", "duration_s", "memory_mib", "device", "node"),
]
"""Columns of TRIALS that are read: a sweep may have very many rows."""

_PER_SAMPLE: Final = frozenset({"correct", "example_scores", "perturbed_example_scores"})
_MOST_SEEDS: Final = 8
_MOST_BUDGETS: Final = 4


@dataclass(kw_only=True)
class StudyRecords:
    """One backbone on one task."""

    task: str
    backbone: str
    short: str
    color: str
    anchor: str
    """Unique in the page."""

    row: Mapping[str, Any]
    """Of the ranking's table."""

    profile: Mapping[str, Any]
    """Of PROFILES; empty where there is none."""

    runs: Rows
    """TRIALS rows by number."""

    tests: Mapping[int, Mapping[str, Any]]
    """Of confirmations and of runs with few labels, superseded ones apart, by number."""

    epochs: Mapping[int, Rows]
    """Of the same runs."""

    measures: MeasureSet
    depth_curve: Rows = field(default_factory=list)
    surface_map: Rows = field(default_factory=list)
    tuning_curve: Rows = field(default_factory=list)
    importances: Sequence[Importance] = ()
    superseded: frozenset[int] = frozenset()
    """Confirmations and runs with few labels of what was chosen before the budget grew."""

    attempts: Mapping[int, Rows] = field(default_factory=dict)
    """ATTEMPTS rows of runs that were handed out more than once, by number."""

    evaluated: StudyEvaluations = field(default_factory=StudyEvaluations)

    @cached_property
    def search(self) -> Rows:
        """Search trials, whatever their state."""
        return [run for run in self.runs if not _is_of_chosen(run)]

    @cached_property
    def confirmations(self) -> Rows:
        """Those that were completed and count."""
        return [run for run in self.repeats("confirmation") if run["state"] == "completed"]

    def repeats(self, phase: str) -> Rows:
        """Those of a phase that count, whatever their state."""
        return [run for run in self.runs if run["phase"] == phase and run["number"] not in self.superseded]

    @property
    def is_regression(self) -> bool:
        """Which has neither classes nor probabilities."""
        return bool(self.row["test_metric"] == "r2")

    @property
    def not_evaluated(self) -> str:
        """Why a measure is missing that every evaluation has where the kind of task allows it."""
        if self.measures.num_runs:
            return "this evaluation does not have it for this kind of task; see the notes"
        return "its confirmations were not evaluated; a new sweep evaluates them"

    @property
    def budget(self) -> str:
        """What was spent, for a caption."""
        states = [run["state"] for run in self.search]
        odd = [f"{states.count(state)} {state}" for state in ("stopped", "failed") if state in states]
        return f"{len(states)} trial{'s' * (len(states) != 1)}{f' ({listed(odd)})' if odd else ''}"

    @property
    def seeds(self) -> str:
        """Of the confirmations, for a caption."""
        seeds = [run["seed"] for run in self.confirmations]
        if not seeds:
            return "no confirmation"
        named = ", ".join(str(seed) for seed in seeds[:_MOST_SEEDS]) + (", …" if len(seeds) > _MOST_SEEDS else "")
        return f"{len(seeds)} confirmation{'s' * (len(seeds) != 1)} (seed{'s' * (len(seeds) != 1)} {named})"

    @property
    def measured_on(self) -> str:
        """What the measures are means of, for a caption."""
        num_test = self.row.get("num_test")
        examples = f"{num_test} test samples" if num_test else "test samples"
        return f"{examples}, mean of {self.seeds}"


@dataclass(kw_only=True)
class SweepRecords:
    """All of a sweep."""

    folder: SweepFolder
    ranking: Ranking
    facts: Mapping[str, Any]
    config_yaml: str
    studies: list[StudyRecords]
    """By task, then as the ranking has them."""

    screen: Sequence[Foretold]
    """By task."""

    screen_s: Mapping[tuple[str, str], float]
    """Seconds that the screen of a task and backbone took."""

    cost_leaders: Rows
    """COST_LEADERS rows."""

    def of_task(self, task: str) -> list[StudyRecords]:
        """Best first."""
        return [study for study in self.studies if study.task == task]


def budgets(studies: Sequence[StudyRecords]) -> str:
    """What was spent on each, for a caption: one by one while that is short."""
    each = list(dict.fromkeys(f"{study.budget}, {study.seeds}" for study in studies))
    if len(each) == 1:
        return f"{each[0]} each"
    if len(studies) <= _MOST_BUDGETS:
        return "; ".join(f"{study.short} {study.budget}, {study.seeds}" for study in studies)
    trials = _range([len(study.search) for study in studies])
    confirmations = _range([len(study.confirmations) for study in studies])
    return f"{trials} trials and {confirmations} confirmations each, one by one under Budget spent"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def read_sweep(folder: SweepFolder, ranking: Ranking, importances: Sequence[Importance] = ()) -> SweepRecords:
    """Read the whole folder; what is not there is empty.

    Raises:
        TableDamaged: a table is no table of this version.
        InvalidTable: the tables contradict themselves.
    """
    config, screen = folder.config_file, folder.screen.read()
    screen_s: dict[tuple[str, str], float] = defaultdict(float)
    for row in screen.to_pylist():
        screen_s[row["task"], row["backbone"]] += row["duration_s"] or 0.0
    reader = _Reader(folder, ranking, importances)
    return SweepRecords(
        folder=folder,
        ranking=ranking,
        facts=folder.read_facts(),
        config_yaml=config.read_text(encoding="utf-8") if config.exists() else "",
        studies=reader.studies(),
        screen=foretold(screen, ranking.table),
        screen_s=screen_s,
        cost_leaders=reader.cost_leaders,
    )


class _Reader:
    """Sorts the rows of all tables by study."""

    def __init__(self, folder: SweepFolder, ranking: Ranking, importances: Sequence[Importance]) -> None:
        trials, epochs, tests = folder.tables()
        self.importances = importances
        self.rows = ranking.table.to_pylist()
        names = list(
            dict.fromkeys([*folder.read_facts().get("backbones", []), *(row["backbone"] for row in self.rows)])
        )
        self.colors, self.shorts = colors(names), short_names(names)
        self.trials = _by_study(trials.select(_SHOWN))
        self.superseded = superseded(trials)
        again = {(study, run["number"]) for study, runs in self.trials.items() for run in runs if _is_of_chosen(run)}
        again -= self.superseded
        self.attempts = _by_study(folder.attempts.read())
        self.epochs, self.tests = (_by_study(_of_runs(again, table)) for table in (epochs, tests))
        self.evaluated = read_evaluations(folder)
        profiles = profile_tables(trials, tests, ranking.options)
        self.cost_leaders = profiles.cost_leaders.to_pylist()
        self.profiles, self.depths, self.maps, self.tuning = (
            _by_study(table)
            for table in (
                profiles.profiles,
                profiles.depth_curves,
                profiles.surface_maps,
                profiles.tuning_curves,
            )
        )

    def studies(self) -> list[StudyRecords]:
        return [self._study(place, row) for place, row in enumerate(self.rows)]

    def _study(self, place: int, row: Mapping[str, Any]) -> StudyRecords:
        name = f"{row['task']}:{row['backbone']}"
        runs = sorted(self.trials.get(name, []), key=lambda run: run["number"])
        out = frozenset(number for study, number in self.superseded if study == name)
        confirmed = {run["number"] for run in runs if run["phase"] == "confirmation" and run["state"] == "completed"}
        confirmed -= out
        epochs: dict[int, Rows] = defaultdict(list)
        for epoch in self.epochs.get(name, []):
            epochs[epoch["number"]].append(epoch)
        evaluated = tuple(
            self.evaluated[name, number] for number in sorted(confirmed) if (name, number) in self.evaluated
        )
        return StudyRecords(
            task=row["task"],
            backbone=row["backbone"],
            short=self.shorts[row["backbone"]],
            color=self.colors[row["backbone"]],
            anchor=f"s{place}",
            row=row,
            profile=next(iter(self.profiles.get(name, [])), {}),
            runs=runs,
            tests={test["number"]: test for test in self.tests.get(name, [])},
            epochs=epochs,
            measures=MeasureSet([measure for one in evaluated for measure in one.measures]),
            depth_curve=self.depths.get(name, []),
            surface_map=self.maps.get(name, []),
            tuning_curve=self.tuning.get(name, []),
            superseded=out,
            attempts=_again(self.attempts.get(name, [])),
            importances=[i for i in self.importances if (i.task, i.backbone) == (row["task"], row["backbone"])],
            evaluated=StudyEvaluations(each=evaluated),
        )


def _again(attempts: Rows) -> dict[int, Rows]:
    """Of the runs that were handed out more than once, by number."""
    found: defaultdict[int, Rows] = defaultdict(list)
    for row in attempts:
        found[row["number"]].append(row)
    return {number: rows for number, rows in found.items() if len(rows) > 1}


def _is_of_chosen(run: Mapping[str, Any]) -> bool:
    return run["phase"] in REPEATS


def _of_runs(runs: Collection[tuple[str, int]], table: pa.Table) -> pa.Table:
    """The rows of these runs, without the columns that hold a value per sample."""
    keys = zip(table["study"].to_pylist(), table["number"].to_pylist(), strict=True)
    kept = table.drop_columns([name for name in table.column_names if name in _PER_SAMPLE])
    return kept.filter(pa.array([key in runs for key in keys], pa.bool_()))


def _by_study(table: pa.Table) -> dict[str, Rows]:
    """Rows by study, in their order."""
    found: dict[str, Rows] = defaultdict(list)
    for row in table.to_pylist():
        found[row.get("study") or f"{row['task']}:{row['backbone']}"].append(row)
    return found
