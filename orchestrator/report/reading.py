"""Reads a sweep's folder for the report, and sorts it by study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import yaml

from orchestrator.evaluated import read_evaluations
from orchestrator.folder import SweepFolder
from orchestrator.ranking import Ranking, fallen, superseded
from orchestrator.ranking.profile import profile_tables
from orchestrator.report.drawing import MARKERS
from orchestrator.report.evaluations import MeasureSet, StudyEvaluations
from orchestrator.report.studies import Rows, StudyRecords, SweepRecords, is_of_chosen
from orchestrator.screen_report import foretold
from orchestrator.tracking.color import colors
from orchestrator.tracking.naming import short_names

if TYPE_CHECKING:
    from orchestrator.importance import Importance

__all__ = ["read_sweep"]

_SHOWN: Final = [
    *("study", "number", "phase", "state", "error", "seed", "freeze_depth", "tune_stop", "num_blocks", "freeze_frac"),
    *("learning_rate", "head_learning_rate", "weight_decay", "layer_decay", "head_init", "stay_near", "batch_size"),
    *("max_epochs", "train_frac", "epochs", "best_epoch", "val_score", "num_val", "num_params"),
    *("num_params_trainable", "train_s", "duration_s", "memory_mib", "device", "node"),
]
"""Columns of TRIALS that are read: a sweep may have very many rows."""

_PER_SAMPLE: Final = frozenset({"correct", "example_scores", "perturbed_example_scores"})


def read_sweep(folder: SweepFolder, ranking: Ranking, importances: Sequence[Importance] = ()) -> SweepRecords:
    """Read the whole folder; what is not there is empty.

    Raises:
        TableDamaged: a table is no table of this version.
        InvalidTable: the tables contradict themselves.
    """
    file, screen = folder.config_file, folder.screen.read()
    config_yaml = file.read_text(encoding="utf-8") if file.exists() else ""
    screen_s: dict[tuple[str, str], float] = defaultdict(float)
    for row in screen.to_pylist():
        screen_s[row["task"], row["backbone"]] += row["duration_s"] or 0.0
    reader = _Reader(folder, ranking, importances, _sampled(config_yaml))
    return SweepRecords(
        folder=folder,
        ranking=ranking,
        facts=folder.read_facts(),
        config_yaml=config_yaml,
        studies=reader.studies(),
        screen=foretold(screen, ranking.table),
        screen_s=screen_s,
        cost_leaders=reader.cost_leaders,
    )


def _sampled(config_yaml: str) -> dict[str, int]:
    """The counts of the section ``evaluation``; none where the file cannot be read, which is said in captions."""
    try:
        section = (yaml.safe_load(config_yaml) or {}).get("evaluation") or {}
    except (yaml.YAMLError, AttributeError):
        return {}
    return {name: value for name, value in section.items() if isinstance(value, int)}


class _Reader:
    """Sorts the rows of all tables by study."""

    def __init__(
        self, folder: SweepFolder, ranking: Ranking, importances: Sequence[Importance], sampled: Mapping[str, int]
    ) -> None:
        trials, epochs, tests = folder.tables()
        self.folder, self.importances = folder, importances
        self.sampled, self.indices = sampled, folder.study_indices()
        self.rows = ranking.table.to_pylist()
        names = list(
            dict.fromkeys([*folder.read_facts().get("backbones", []), *(row["backbone"] for row in self.rows)])
        )
        self.colors, self.shorts = colors(names), short_names(names)
        self.markers = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}
        self.trials = _by_study(trials.select(_SHOWN))
        self.superseded = superseded(trials)
        self.fallen = fallen(trials, tests, self.superseded)
        again = {(study, run["number"]) for study, runs in self.trials.items() for run in runs if is_of_chosen(run)}
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
        out, fell = (
            frozenset(number for study, number in gone if study == name) for gone in (self.superseded, self.fallen)
        )
        confirmed = {run["number"] for run in runs if run["phase"] == "confirmation" and run["state"] == "completed"}
        has_model = any(self._keeps(name, number) for number in confirmed - out)
        confirmed -= out | fell
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
            marker=self.markers[row["backbone"]],
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
            collapsed=fell,
            sampled=self.sampled,
            has_model=has_model,
            attempts=_again(self.attempts.get(name, [])),
            importances=[i for i in self.importances if (i.task, i.backbone) == (row["task"], row["backbone"])],
            evaluated=StudyEvaluations(each=evaluated),
        )

    def _keeps(self, study: str, number: int) -> bool:
        index = self.indices.get(study)
        return index is not None and self.folder.model_folder(index, number).is_dir()


def _again(attempts: Rows) -> dict[int, Rows]:
    """Of the runs that were handed out more than once, by number."""
    found: defaultdict[int, Rows] = defaultdict(list)
    for row in attempts:
        found[row["number"]].append(row)
    return {number: rows for number, rows in found.items() if len(rows) > 1}


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
