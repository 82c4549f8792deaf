"""Runs and test results as the ranking sees them: typed, and made into objects when they are looked at.

A study may hold a hundred thousand trials. What is asked of all of them (how many completed, which scored best) is
asked of columns; objects are made of the few hundred that a surface is fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NEEDED", "REPEATS", "Results", "Run", "Runs", "TestResult", "collapsed"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_REST = ("weight_decay", "layer_decay", "head_init", "stay_near", "batch_size", "max_epochs")
NEEDED: Final = (
    *("study", "number", "task", "backbone", "phase", "state", "freeze_depth", "tune_stop", "num_blocks"),
    *("freeze_frac", "learning_rate", "head_learning_rate", *_REST, "config", "metric", "val_score", "num_val"),
    *("duration_s", "train_frac", "seed"),
)
"""Columns of TRIALS that runs are made of."""

REPEATS: Final = ("confirmation", "reduced")
"""Phases that repeat a configuration after it was chosen: no part of the search."""

_AT_A_TIME = 1_000  # objects made together: one by one costs thirty times as much
_SHARED = (
    *("study", "number", "task", "backbone", "phase", "state", "metric", "freeze_depth", "tune_stop", "num_blocks"),
    *("freeze_frac", "learning_rate", "head_learning_rate", "num_val", "duration_s", "train_frac", "seed"),
)

_KIND = ("metric", "chance", "num_test")

# A confirmation collapsed when it lies this far below its backbone's median: fine-tuning on small data
# diverges now and then (Dodge et al. 2020, arXiv:2002.06305), and one such seed would swamp the mean.
_COLLAPSE_MARGIN = 0.03
_COLLAPSE_ROBUST_SDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TestResult:
    """What one run scored on the test set."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    metric: str
    score: float
    chance: float
    example_scores: Array
    """Of each test sample, shape (num_test,): 1 or 0, or its part of R2."""
    perturbed_score: float | None = None
    """Mean of the metric over perturbations of the inputs; None where that was not measured."""
    perturbed_example_scores: Array | None = None
    """Of each perturbed sample the mean over perturbations, shape (num_perturbed,); None with the score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One search trial, confirmation or reduced run. Scores are fractions, rates per step, durations seconds."""

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
    train_frac: float  # share of the training split, in (0, 1]; below 1 in phase reduced
    seed: int

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


class Runs(Sequence[Run]):
    """Some of the runs of a table, in a certain order.

    Args:
        table: the NEEDED columns, each in one piece, checked.
        places: of the runs, rows of the table.
        made: runs made into objects before, by row; shared by all selections from one table.
    """

    __slots__ = ("_made", "_table", "places")

    def __init__(self, table: pa.Table, places: Places, made: dict[int, Run] | None = None) -> None:
        self._table = table
        self.places = places
        self._made: dict[int, Run] = {} if made is None else made

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        if isinstance(index, slice):
            return self.at(index)
        [run] = self._objects(self.places[[index]])
        return run

    def __iter__(self) -> Iterator[Run]:
        for start in range(0, len(self.places), _AT_A_TIME):
            yield from self._objects(self.places[start : start + _AT_A_TIME])

    def at(self, index: Any) -> Runs:
        """Those at the places that a numpy index selects."""
        return Runs(self._table, self.places[index], self._made)

    def among(self, column: str, values: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Of each run: whether a column of strings holds one of the values."""
        held = pc.is_in(self._column(column), pa.array(values, pa.string()))
        found: npt.NDArray[np.bool_] = held.to_numpy(zero_copy_only=False)
        return found

    def numbers_in(self, column: str) -> Array:
        """A column of numbers, of each run; NaN for null."""
        values: Array = self._column(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values

    def distinct(self, column: str) -> list[Any]:
        """The values of a column, each once."""
        values: list[Any] = self._column(column).unique().to_pylist()
        return values

    @property
    def search(self) -> Runs:
        """Those that are not repeats of a chosen configuration."""
        return self.at(~self.among("phase", REPEATS))

    @property
    def scored(self) -> Runs:
        """Those that completed with a validation score."""
        return self.at(self.among("state", ["completed"]) & np.isfinite(self.numbers_in("val_score")))

    def _column(self, name: str) -> Any:
        return self._table[name].take(pa.array(self.places)).combine_chunks()

    def _objects(self, places: Places) -> list[Run]:
        missing = [place for place in places.tolist() if place not in self._made]
        if missing:
            rows = self._table.take(pa.array(missing)).to_pylist()
            self._made.update(zip(missing, map(_run, rows), strict=True))
        return [self._made[place] for place in places.tolist()]


class Results(Mapping[int, TestResult]):
    """Test results of one study by run number.

    Args:
        table: columns of TESTS, checked.
        places: of the study's results, rows of the table.
        numbers: of their runs, rising.
    """

    __slots__ = ("_made", "_numbers", "_table", "places")

    def __init__(self, table: pa.Table, places: Places, numbers: npt.NDArray[np.int64]) -> None:
        self._table = table
        self.places = places
        self._numbers = numbers
        self._made: dict[int, TestResult] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers.tolist())

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self._index(number) is not None

    def __getitem__(self, number: int) -> TestResult:
        if number not in self._made:
            index = self._index(number)
            if index is None:
                raise KeyError(number)
            [row] = self._table.slice(int(self.places[index]), 1).to_pylist()
            self._made[number] = _result(row)
        return self._made[number]

    def score(self, number: int) -> float:
        """The test score alone: what is asked of hundreds of runs, of whose examples nothing is."""
        index = self._index(number)
        if index is None:
            raise KeyError(number)
        return float(self._table["test_score"][int(self.places[index])].as_py())

    def kinds(self) -> list[tuple[int, tuple[str, float, int]]]:
        """(metric, chance, num_test) of the results, each once, with the number of the first run that has it."""
        columns = [self._table[name].take(pa.array(self.places)) for name in _KIND]
        # As a rule there is one kind, and of a hundred thousand results the first says it.
        looked_at = 1 if all(len(column.unique()) == 1 for column in columns) else len(self)
        values = [column.slice(0, looked_at).to_pylist() for column in columns]
        first: dict[tuple[str, float, int], int] = {}
        for number, metric, chance, num_test in zip(self._numbers.tolist(), *values, strict=False):
            first.setdefault((metric, round(chance, 9), num_test), number)
        return [(number, kind) for kind, number in first.items()]

    def perturbed_sizes(self) -> list[tuple[int, int]]:
        """Numbers of perturbed samples, where there are any, as `kinds`."""
        lengths = pc.list_value_length(self._table["perturbed_example_scores"].take(pa.array(self.places)))
        sizes = lengths.cast(pa.float64()).to_numpy(zero_copy_only=False)
        values, first = np.unique(sizes[np.isfinite(sizes)], return_index=True)
        numbers = self._numbers[np.isfinite(sizes)][first]
        return [(number, int(size)) for number, size in zip(numbers.tolist(), values.tolist(), strict=True)]

    def _index(self, number: int) -> int | None:
        index = int(np.searchsorted(self._numbers, number))
        return index if index < len(self._numbers) and self._numbers[index] == number else None


def collapsed(scores: Sequence[float] | Array) -> npt.NDArray[np.bool_]:
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


def _run(row: Mapping[str, Any]) -> Run:
    val_score = row["val_score"]
    return Run(
        **{name: row[name] for name in _SHARED},
        rest=(*(row[name] for name in _REST), _without_seed(row["config"])),
        val_score=val_score if val_score is not None and np.isfinite(val_score) else None,
    )


def _without_seed(config: str) -> str:
    """A configuration's text, equal for runs that differ in their seed alone."""
    values = json.loads(config)
    return json.dumps({name: values[name] for name in sorted(values) if name != "seed"})


def _result(row: Mapping[str, Any]) -> TestResult:
    perturbed = row["perturbed_example_scores"]
    if row["correct"] is None:
        examples = np.asarray(row["example_scores"], dtype=np.float64)
    else:
        packed = np.frombuffer(row["correct"], dtype=np.uint8)
        examples = np.unpackbits(packed, count=row["num_test"]).astype(np.float64)
    return TestResult(
        metric=row["metric"],
        score=row["test_score"],
        chance=row["chance"],
        example_scores=examples,
        perturbed_score=row["perturbed_score"],
        perturbed_example_scores=None if perturbed is None else np.asarray(perturbed, dtype=np.float64),
    )
