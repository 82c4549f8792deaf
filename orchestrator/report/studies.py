"""A study and a sweep as the report has them: everything of one in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from orchestrator.folder import SweepFolder
from orchestrator.ranking import Ranking
from orchestrator.ranking.runs import REPEATS
from orchestrator.report.document import Basis
from orchestrator.report.evaluations import MeasureSet, StudyEvaluations
from orchestrator.report.wording import listed, plural
from orchestrator.screen_report import Foretold

if TYPE_CHECKING:
    from orchestrator.importance import Importance

__all__ = ["Rows", "StudyRecords", "SweepRecords", "common_basis", "is_of_chosen"]

Rows = list[dict[str, Any]]

_MOST_SEEDS: Final = 3


@dataclass(kw_only=True)
class StudyRecords:
    """One backbone on one task."""

    task: str
    backbone: str
    short: str
    color: str
    marker: str
    """Of its points in charts, beside the colour."""

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

    collapsed: frozenset[int] = frozenset()
    """Confirmations and runs with few labels far below the others: in no mean."""

    sampled: Mapping[str, int] = field(default_factory=dict)
    """How many test samples an evaluation takes where it does not take all, by the sweep file's own name."""

    has_model: bool = False
    """Whether the network of a confirmation was kept."""

    attempts: Mapping[int, Rows] = field(default_factory=dict)
    """ATTEMPTS rows of runs that were handed out more than once, by number."""

    evaluated: StudyEvaluations = field(default_factory=StudyEvaluations)

    @cached_property
    def search(self) -> Rows:
        """Search trials, whatever their state."""
        return [run for run in self.runs if not is_of_chosen(run)]

    @cached_property
    def confirmations(self) -> Rows:
        """Those that were completed and count."""
        return [run for run in self._completed if run["number"] not in self.collapsed]

    @cached_property
    def fallen(self) -> Rows:
        """Confirmations that were completed, and collapsed."""
        return [run for run in self._completed if run["number"] in self.collapsed]

    @property
    def _completed(self) -> Rows:
        return [run for run in self.repeats("confirmation") if run["state"] == "completed"]

    def repeats(self, phase: str) -> Rows:
        """Those of a phase that are of the chosen configuration, whatever their state."""
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
        return f"{plural(len(states), 'trial')}{f' ({listed(odd)})' if odd else ''}"

    @property
    def seeds(self) -> str:
        """Of the confirmations, for a caption."""
        seeds = [run["seed"] for run in self.confirmations]
        out = f"{plural(len(self.fallen), 'collapsed one')} left out" if self.fallen else ""
        if not seeds:
            return f"no confirmation{f', {out}' if out else ''}"
        named = ", ".join(str(seed) for seed in seeds[:_MOST_SEEDS]) + (", …" if len(seeds) > _MOST_SEEDS else "")
        end = f"; {out}" if out else ""
        return f"{plural(len(seeds), 'confirmation')} (seed{'s' * (len(seeds) != 1)} {named}{end})"

    @property
    def num_test(self) -> str:
        """Test samples, for a caption."""
        num = self.row.get("num_test")
        return plural(num, "test sample") if num else "an unknown number of test samples"

    def part_of_test(self, name: str) -> str:
        """How many test samples a part of the evaluation took, for a caption. name: e.g. ``num_perturbed``."""
        asked, there = self.sampled.get(name), self.row.get("num_test")
        if asked is None or not there:
            return f"an unknown number of test samples ({name})"
        return plural(min(asked, there), "test sample")

    @property
    def measured_on(self) -> str:
        """What the measures are means of, for a caption."""
        return f"{self.num_test}, mean of {self.seeds}"

    def basis(self, *, unmeasured: str, num: str | None = None) -> Basis:
        """Of a figure of this backbone alone.

        Args:
            unmeasured: what the figure does not show.
            num: how many of what; the test samples when left out.
        """
        return Basis(num=num or self.num_test, seeds=self.seeds, budget=self.budget, unmeasured=unmeasured)


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


def common_basis(studies: Sequence[StudyRecords], *, unmeasured: str) -> Basis:
    """Of a figure of several backbones of a task."""
    nums = list(dict.fromkeys(study.num_test for study in studies))
    return Basis(
        num=f"{plural(len(studies), 'backbone')}, {listed(nums)}",
        seeds=_common_seeds(studies),
        budget=_common_budget(studies),
        unmeasured=unmeasured,
    )


def _common_seeds(studies: Sequence[StudyRecords]) -> str:
    each = {study.seeds for study in studies}
    if len(each) == 1:
        return f"{each.pop()}{' each' if len(studies) > 1 else ''}"
    num_out = sum(len(study.fallen) for study in studies)
    out = f"; {plural(num_out, 'collapsed one')} left out" if num_out else ""
    seeds = len({run["seed"] for study in studies for run in study.confirmations})
    return f"{_range([len(study.confirmations) for study in studies])} confirmations each ({seeds} seeds{out})"


def _common_budget(studies: Sequence[StudyRecords]) -> str:
    if len(studies) == 1:
        return studies[0].budget
    states = [run["state"] for study in studies for run in study.search]
    odd = [f"{states.count(state)} {state}" for state in ("stopped", "failed") if state in states]
    return f"{_range([len(study.search) for study in studies])} trials each{f' ({listed(odd)} in all)' if odd else ''}"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def is_of_chosen(run: Mapping[str, Any]) -> bool:
    """Whether a run repeats the chosen configuration, rather than searching for it."""
    return run["phase"] in REPEATS
