"""Studies read from the Arrow tables, and checked on the way in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import OrchestratorError
from orchestrator.ranking.runs import NEEDED, REPEATS, Results, Run, Runs, TestResult, collapsed
from orchestrator.records import PHASES, STATES, TESTS, TRIALS

__all__ = ["REPEATS", "InvalidTable", "Run", "Study", "TestResult", "collapsed", "read_runs", "read_studies"]

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_OF_TESTS = (
    *("study", "number", "metric", "test_score", "chance", "num_test", "correct", "example_scores"),
    *("perturbed_score", "perturbed_example_scores"),
)
_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
_LARGE |= {pa.list_(pa.float32()): pa.large_list(pa.float32())}
_LARGE_FROM = 2**30  # bytes: one array of the small kind ends at twice this


class InvalidTable(OrchestratorError, ValueError):
    """A table handed to the ranking breaks its schema or contradicts itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """All runs of one backbone on one task, sorted by number, with the test results that exist."""

    task: str
    backbone: str
    runs: Runs
    tests: Results  # by run number

    @property
    def search(self) -> Runs:
        return self.runs.search

    @property
    def confirmations(self) -> Runs:
        return self.runs.at(self.runs.among("phase", ["confirmation"]))

    @property
    def reduced(self) -> Runs:
        """Runs of the chosen configuration on less training data."""
        return self.runs.at(self.runs.among("phase", ["reduced"]))


def read_runs(trials: pa.Table) -> Runs:
    """The rows of a TRIALS table as runs, sorted by study and number, whatever order they came in.

    Raises InvalidTable when the table carries a column TRIALS has not (a test score, say), lacks one that is
    needed, repeats a run, or holds a value out of range.
    """
    runs, _ = _read(trials)
    return runs


def read_studies(trials: pa.Table, tests: pa.Table) -> list[Study]:
    """Join the two tables into studies, sorted by task and backbone.

    Test rows of a study that `trials` does not hold are ignored, so a filtered table can be ranked.

    Raises InvalidTable as `read_runs` does, and for a test row of an unknown run, a repeated one, one whose
    examples are neither `num_test` bits nor `num_test` finite scores, a chance level outside [0, 1), or runs
    of one task that disagree on metric, chance or test set size.
    """
    runs, bounds = _read(trials)
    members = {}
    for start, stop in itertools.pairwise(bounds):
        of_one = runs[start:stop]
        if len(of_one.distinct("task")) > 1 or len(of_one.distinct("backbone")) > 1:
            raise InvalidTable(f"trials: study {of_one[0].study!r} names more than one task or backbone")
        members[of_one[0].study] = of_one
    results = _read_tests(tests, members)
    studies = [
        Study(task=own[0].task, backbone=own[0].backbone, runs=own, tests=results[name])
        for name, own in members.items()
    ]
    studies.sort(key=lambda study: (study.task, study.backbone))
    _check_tasks(studies)
    return studies


def _read(trials: pa.Table) -> tuple[Runs, list[int]]:
    """All runs in order, and where each study's begin, with the end of the last."""
    foreign = sorted(set(trials.column_names) - set(TRIALS.names))
    if foreign:
        raise InvalidTable(f"trials: unknown columns {foreign}; only the columns of TRIALS are accepted")
    missing = sorted(set(NEEDED) - set(trials.column_names))
    if missing:
        raise InvalidTable(f"trials: missing columns {missing}")
    table = _in_one_piece(trials.select(list(NEEDED)))
    for row in table.filter(pa.array(~_possible(table))).slice(0, 1).to_pylist():
        _refuse_run(row)
    studies, numbers = _codes(table["study"]), _numbers(table["number"])
    order = np.lexsort((numbers, studies))
    new = np.diff(studies[order]) != 0
    again = np.flatnonzero(~new & (np.diff(numbers[order]) == 0))
    if len(again):
        [row] = table.slice(int(order[again[0]]), 1).to_pylist()
        raise InvalidTable(f"trials: study {row['study']!r} has two rows with number {row['number']}")
    bounds = [0, *(1 + np.flatnonzero(new)).tolist(), len(order)] if len(order) else [0]
    return Runs(table, order), bounds


def _possible(table: pa.Table) -> Mask:
    """Of each row of TRIALS: whether all its values are in their ranges; `_refuse_run` says what is wrong."""
    values = {name: _numbers(table[name]) for name in ("freeze_depth", "tune_stop", "num_blocks", "freeze_frac")}
    rate, head, frac = (_numbers(table[name]) for name in ("learning_rate", "head_learning_rate", "train_frac"))
    reduced = _is_in(table["phase"], ("reduced",))
    whole: Mask = (
        _is_in(table["phase"], PHASES)
        & _is_in(table["state"], STATES)
        & (_is_null(table["learning_rate"]) | (np.isfinite(rate) & (rate > 0)))
        & (np.isfinite(head) & (head > 0))
        & ((values["freeze_frac"] >= 0) & (values["freeze_frac"] <= 1))
        & (values["freeze_depth"] <= values["tune_stop"])
        & (values["tune_stop"] <= values["num_blocks"])
        & np.where(reduced, (frac > 0) & (frac < 1), frac == 1)
    )
    return whole


def _refuse_run(row: dict[str, Any]) -> None:
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
    if not (row["freeze_frac"] is not None and 0 <= row["freeze_frac"] <= 1):
        raise InvalidTable(f"{where}: freeze_frac is {row['freeze_frac']}, must lie in [0, 1]")
    train_frac = row["train_frac"]
    if train_frac is None or not (0 < train_frac < 1 if row["phase"] == "reduced" else train_frac == 1):
        raise InvalidTable(
            f"{where}: train_frac is {train_frac}, must lie between 0 and 1 in phase reduced and be 1 in every other"
        )
    raise InvalidTable(
        f"{where}: tune_stop is {row['tune_stop']}, must lie between freeze_depth ({row['freeze_depth']}) "
        f"and num_blocks ({row['num_blocks']})"
    )


def _read_tests(tests: pa.Table, members: dict[str, Runs]) -> dict[str, Results]:
    missing = sorted(set(TESTS.names) - set(tests.column_names))
    if missing:
        raise InvalidTable(f"tests: missing columns {missing}")
    table = tests.select(list(_OF_TESTS))
    table = _in_one_piece(table.filter(pc.is_in(table["study"], pa.array(list(members), pa.string()))))
    for row in table.filter(pa.array(~_measured(table))).slice(0, 1).to_pylist():
        _refuse_result(row)
    names, numbers = _codes(table["study"]), _numbers(table["number"])
    order = np.lexsort((numbers, names))
    found = {}
    for name, runs in members.items():
        found[name] = _results(table, order[:0], numbers, name, runs)
    starts = np.flatnonzero(np.diff(names[order], prepend=-1))
    for own in np.split(order, starts[1:]) if len(order) else []:
        name = table["study"][int(own[0])].as_py()
        found[name] = _results(table, own, numbers, name, members[name])
    return found


def _results(table: pa.Table, places: Places, numbers: npt.NDArray[np.float64], name: str, runs: Runs) -> Results:
    """Of one study. places: of its rows, by number."""
    own = numbers[places].astype(np.int64)
    unknown = own[~np.isin(own, runs.numbers_in("number").astype(np.int64))]
    if len(unknown):
        raise InvalidTable(f"tests: study {name!r}, number {unknown[0]}: there is no such run in trials")
    again = own[1:][np.diff(own) == 0]
    if len(again):
        raise InvalidTable(f"tests: study {name!r}, number {again[0]}: two rows")
    return Results(table, places, own)


def _measured(table: pa.Table) -> Mask:
    """Of each row of TESTS: whether it is whole; `_refuse_result` says what is wrong with one that is not."""
    chance, size = _numbers(table["chance"]), _numbers(table["num_test"])
    bits = 8 * _numbers(pc.binary_length(table["correct"]))
    parts, perturbed = (_numbers(pc.list_value_length(table[name])) for name in _LISTS)
    no_bits, no_parts = np.isnan(bits), np.isnan(parts)
    score = _numbers(table["perturbed_score"])
    whole: Mask = (
        np.isfinite(_numbers(table["test_score"]))
        & ((chance >= 0) & (chance < 1))
        & (no_bits != no_parts)
        & (size >= 1)
        & ((bits >= size) | (parts == size))
        & np.where(_is_null(table["perturbed_score"]), np.isnan(perturbed), np.isfinite(score) & (perturbed >= 1))
    )
    for name in _LISTS:
        values = pc.list_flatten(table[name])
        if not pc.all(pc.is_finite(values), min_count=0, skip_nulls=False).as_py():
            rows = _numbers(pc.list_parent_indices(table[name])).astype(np.intp)
            whole[rows[~np.isfinite(_numbers(values))]] = False
    return whole


_LISTS = ("example_scores", "perturbed_example_scores")


def _refuse_result(row: dict[str, Any]) -> None:
    where = f"tests: study {row['study']!r}, number {row['number']}"
    if row["test_score"] is None or not math.isfinite(row["test_score"]):
        raise InvalidTable(f"{where}: test_score is {row['test_score']}")
    if row["chance"] is None or not 0 <= row["chance"] < 1:
        raise InvalidTable(f"{where}: chance is {row['chance']}, must lie in [0, 1)")
    if (row["correct"] is None) == (row["example_scores"] is None):
        raise InvalidTable(f"{where}: exactly one of `correct` and `example_scores` must be given")
    size = row["num_test"] or 0
    if row["correct"] is not None and not 1 <= size <= 8 * len(row["correct"]):
        raise InvalidTable(f"{where}: `correct` holds {len(row['correct'])} bytes, num_test is {size}")
    scores = row["example_scores"]
    if scores is not None and not (1 <= len(scores) == size and np.isfinite(np.array(scores, dtype=np.float64)).all()):
        raise InvalidTable(f"{where}: `example_scores` must be {size} finite numbers")
    raise InvalidTable(f"{where}: perturbed_score and perturbed_example_scores must both be given, and finite")


def _check_tasks(studies: Sequence[Study]) -> None:
    """Paired examples and one anchor for all need one metric, one chance level and one test set per task."""
    seen: dict[str, tuple[str, float, int]] = {}
    perturbed: dict[str, int] = {}
    for study in studies:
        for number, here in study.tests.kinds():
            if seen.setdefault(study.task, here) != here:
                raise InvalidTable(
                    f"tests: task {study.task!r}: {study.backbone!r} run {number} has "
                    f"(metric, chance, num_test) = {here}, other runs have {seen[study.task]}"
                )
        for number, size in study.tests.perturbed_sizes():
            if perturbed.setdefault(study.task, size) != size:
                raise InvalidTable(
                    f"tests: task {study.task!r}: {study.backbone!r} run {number} has {size} perturbed samples, "
                    f"other runs have {perturbed[study.task]}"
                )


def _in_one_piece(table: pa.Table) -> pa.Table:
    """Every column as one array: a table of ten thousand pieces takes seconds to take rows from."""
    columns = [
        (column.cast(_LARGE[column.type]) if column.nbytes > _LARGE_FROM and column.type in _LARGE else column)
        for column in table.columns
    ]
    return pa.table([column.combine_chunks() for column in columns], names=table.column_names)


def _codes(column: Any) -> npt.NDArray[np.int64]:
    """A number for each string, in the strings' order."""
    encoded = column.combine_chunks().dictionary_encode()
    places = np.argsort(np.array(encoded.dictionary.to_pylist(), dtype=object), kind="stable")
    ranks = np.empty(len(places), dtype=np.int64)
    ranks[places] = np.arange(len(places))
    codes: npt.NDArray[np.int64] = ranks[encoded.indices.to_numpy(zero_copy_only=False)]
    return codes


def _numbers(column: Any) -> npt.NDArray[np.float64]:
    """As floats, NaN for null."""
    values: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _is_in(column: Any, allowed: Sequence[str]) -> Mask:
    found: Mask = pc.is_in(column, pa.array(allowed, pa.string())).to_numpy(zero_copy_only=False)
    return found


def _is_null(column: Any) -> Mask:
    found: Mask = column.is_null().to_numpy(zero_copy_only=False)
    return found
