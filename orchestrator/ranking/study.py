"""One study as the ranking sees it: typed runs, read from the Arrow tables and checked on the way in."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.errors import OrchestratorError
from orchestrator.records import PHASES, STATES, TESTS, TRIALS

__all__ = ["InvalidTable", "Run", "Study", "TestResult", "collapsed", "read_runs", "read_studies"]

_NEEDED = (
    *("study", "number", "task", "backbone", "phase", "state", "freeze_depth", "tune_stop", "num_blocks"),
    *("freeze_frac", "learning_rate", "head_learning_rate", "weight_decay", "layer_decay", "head_init"),
    *("stay_near", "batch_size", "max_epochs", "config", "metric", "val_score", "num_val", "duration_s"),
)
_REST = ("weight_decay", "layer_decay", "head_init", "stay_near", "batch_size", "max_epochs")
# A confirmation collapsed when it lies this far below its backbone's median: fine-tuning on small data
# diverges now and then (Dodge et al. 2020, arXiv:2002.06305), and one such seed would swamp the mean.
_COLLAPSE_MARGIN = 0.03
_COLLAPSE_ROBUST_SDS = 5.0


class InvalidTable(OrchestratorError, ValueError):
    """A table handed to the ranking breaks its schema or contradicts itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestResult:
    """What one run scored on the test set."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    metric: str
    score: float
    chance: float
    example_scores: npt.NDArray[np.float64]
    """Of each test sample, shape (num_test,): 1 or 0, or its part of R2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One search trial or confirmation. Scores are fractions, rates are per step, durations seconds."""

    study: str
    number: int
    task: str
    backbone: str
    phase: str
    state: str
    freeze_depth: int  # the first tuned block
    tune_stop: int  # the block after the last tuned one
    num_blocks: int
    freeze_frac: float
    learning_rate: float | None
    head_learning_rate: float
    rest: tuple[Any, ...]  # the configuration's other fields, for telling configurations apart
    metric: str | None
    val_score: float | None
    num_val: int | None
    duration_s: float | None

    @property
    def configuration(self) -> tuple[Any, ...]:
        """Equal for two runs exactly when they differ in nothing but the seed."""
        return (self.freeze_depth, self.tune_stop, self.learning_rate, self.head_learning_rate, *self.rest)

    @property
    def scored(self) -> bool:
        """Completed and holding a validation score: what a surface may be fitted to."""
        return self.state == "completed" and self.val_score is not None

    @property
    def tune_stop_frac(self) -> float:
        """Where tuning ends, as a share of the blocks."""
        return self.tune_stop / max(self.num_blocks, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """All runs of one backbone on one task, sorted by number, with the test results that exist."""

    task: str
    backbone: str
    runs: tuple[Run, ...]
    tests: dict[int, TestResult]  # by run number

    @property
    def search(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.phase != "confirmation")

    @property
    def confirmations(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.phase == "confirmation")


def collapsed(scores: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which confirmations collapsed: more than max(3 points, 5 robust sd) below the median of all of them.

    The robust sd is 1.4826 times the median absolute deviation. `scores`: test scores, shape (r,), fractions.
    Declared before the sweep, so nobody picks the runs to forget; with two runs neither can collapse.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        return np.zeros(0, dtype=np.bool_)
    below = np.median(values) - values
    robust_sd = 1.4826 * float(np.median(np.abs(below)))
    outlying: npt.NDArray[np.bool_] = below > max(_COLLAPSE_MARGIN, _COLLAPSE_ROBUST_SDS * robust_sd)
    return outlying


def read_runs(trials: pa.Table) -> list[Run]:
    """The rows of a TRIALS table as runs, sorted by study and number, whatever order they came in.

    Raises InvalidTable when the table carries a column TRIALS has not (a test score, say), lacks one that is
    needed, repeats a run, or holds a value out of range.
    """
    foreign = sorted(set(trials.column_names) - set(TRIALS.names))
    if foreign:
        raise InvalidTable(f"trials: unknown columns {foreign}; only the columns of TRIALS are accepted")
    missing = sorted(set(_NEEDED) - set(trials.column_names))
    if missing:
        raise InvalidTable(f"trials: missing columns {missing}")
    runs = [_run(row) for row in trials.select(list(_NEEDED)).to_pylist()]
    runs.sort(key=lambda run: (run.study, run.number))
    for one, other in itertools.pairwise(runs):
        if (one.study, one.number) == (other.study, other.number):
            raise InvalidTable(f"trials: study {one.study!r} has two rows with number {one.number}")
    return runs


def read_studies(trials: pa.Table, tests: pa.Table) -> list[Study]:
    """Join the two tables into studies, sorted by task and backbone.

    Test rows of a study that `trials` does not hold are ignored, so a filtered table can be ranked.

    Raises InvalidTable as `read_runs` does, and for a test row of an unknown run, a repeated one, one whose
    examples are neither `num_test` bits nor `num_test` finite scores, a chance level outside [0, 1), or runs
    of one task that disagree on metric, chance or test set size.
    """
    runs = read_runs(trials)
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.study, []).append(run)
    numbers = {study: {run.number for run in members} for study, members in grouped.items()}
    results = _read_tests(tests, numbers)
    studies = []
    for name, members in grouped.items():
        if len({(run.task, run.backbone) for run in members}) > 1:
            raise InvalidTable(f"trials: study {name!r} names more than one task or backbone")
        first = members[0]
        studies.append(
            Study(task=first.task, backbone=first.backbone, runs=tuple(members), tests=results.get(name, {}))
        )
    studies.sort(key=lambda study: (study.task, study.backbone))
    _check_tasks(studies)
    return studies


def _run(row: dict[str, Any]) -> Run:
    where = f"trials: study {row['study']!r}, number {row['number']}"
    for field, allowed in (("phase", PHASES), ("state", STATES)):
        if row[field] not in allowed:
            raise InvalidTable(f"{where}: {field} is {row[field]!r}, not one of {allowed}")
    for field in ("learning_rate", "head_learning_rate"):
        rate = row[field]
        if rate is None and field == "learning_rate":
            continue
        if not (rate is not None and math.isfinite(rate) and rate > 0):
            raise InvalidTable(f"{where}: {field} is {rate}, must be > 0")
    if not 0 <= row["freeze_frac"] <= 1:
        raise InvalidTable(f"{where}: freeze_frac is {row['freeze_frac']}, must lie in [0, 1]")
    if not row["freeze_depth"] <= row["tune_stop"] <= row["num_blocks"]:
        raise InvalidTable(
            f"{where}: tune_stop is {row['tune_stop']}, must lie between freeze_depth ({row['freeze_depth']}) "
            f"and num_blocks ({row['num_blocks']})"
        )
    val_score = row["val_score"]
    return Run(
        **{name: row[name] for name in ("study", "number", "task", "backbone", "phase", "state", "metric")},
        **{name: row[name] for name in ("freeze_depth", "tune_stop", "num_blocks", "freeze_frac", "num_val")},
        learning_rate=row["learning_rate"],
        head_learning_rate=row["head_learning_rate"],
        rest=(*(row[name] for name in _REST), _without_seed(row["config"])),
        val_score=val_score if val_score is not None and math.isfinite(val_score) else None,
        duration_s=row["duration_s"],
    )


def _read_tests(tests: pa.Table, known: dict[str, set[int]]) -> dict[str, dict[int, TestResult]]:
    missing = sorted(set(TESTS.names) - set(tests.column_names))
    if missing:
        raise InvalidTable(f"tests: missing columns {missing}")
    columns = ["study", "number", "metric", "test_score", "chance", "num_test", "correct", "example_scores"]
    results: dict[str, dict[int, TestResult]] = {}
    for row in tests.select(columns).to_pylist():
        study, number = row["study"], row["number"]
        if study not in known:
            continue
        where = f"tests: study {study!r}, number {number}"
        if number not in known[study]:
            raise InvalidTable(f"{where}: there is no such run in trials")
        if number in results.setdefault(study, {}):
            raise InvalidTable(f"{where}: two rows")
        if not math.isfinite(row["test_score"]):
            raise InvalidTable(f"{where}: test_score is {row['test_score']}")
        if not 0 <= row["chance"] < 1:
            raise InvalidTable(f"{where}: chance is {row['chance']}, must lie in [0, 1)")
        results[study][number] = TestResult(
            metric=row["metric"],
            score=row["test_score"],
            chance=row["chance"],
            example_scores=_example_scores(row, where),
        )
    return results


def _example_scores(row: dict[str, Any], where: str) -> npt.NDArray[np.float64]:
    """One number per test sample, from whichever column holds them."""
    if (row["correct"] is None) == (row["example_scores"] is None):
        raise InvalidTable(f"{where}: exactly one of `correct` and `example_scores` must be given")
    if row["correct"] is None:
        scores = np.asarray(row["example_scores"], dtype=np.float64)
        if scores.size != row["num_test"] or scores.size < 1 or not np.isfinite(scores).all():
            raise InvalidTable(f"{where}: `example_scores` must be {row['num_test']} finite numbers")
        return scores
    packed = np.frombuffer(row["correct"], dtype=np.uint8)
    if row["num_test"] < 1 or 8 * packed.size < row["num_test"]:
        raise InvalidTable(f"{where}: `correct` holds {packed.size} bytes, num_test is {row['num_test']}")
    return np.unpackbits(packed, count=row["num_test"]).astype(np.float64)


def _without_seed(config: str) -> str:
    """A configuration's text, equal for runs that differ in their seed alone."""
    values = json.loads(config)
    return json.dumps({name: values[name] for name in sorted(values) if name != "seed"})


def _check_tasks(studies: Sequence[Study]) -> None:
    """Paired examples and one anchor for all need one metric, one chance level and one test set per task."""
    seen: dict[str, tuple[str, float, int]] = {}
    for study in studies:
        for number, result in study.tests.items():
            here = (result.metric, round(result.chance, 9), result.example_scores.size)
            if seen.setdefault(study.task, here) != here:
                raise InvalidTable(
                    f"tests: task {study.task!r}: {study.backbone!r} run {number} has "
                    f"(metric, chance, num_test) = {here}, other runs have {seen[study.task]}"
                )
