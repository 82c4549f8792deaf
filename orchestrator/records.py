"""The sweep's durable tables: Arrow schemas, and an append-only file that survives a kill.

Test measurements live in a table of their own. What searches, schedules or chooses is handed
`TRIALS` rows, whose schema has no test column, so a test score cannot reach it by accident.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.errors import OrchestratorError

__all__ = [
    "ATTEMPTS",
    "EPOCHS",
    "MEASURES",
    "OF_EXAMPLES",
    "PHASES",
    "RESUMED",
    "SCREEN",
    "STATES",
    "TESTS",
    "TRIALS",
    "USAGE",
    "USED",
    "AppendOnlyTable",
    "TableDamaged",
]

PHASES = ("random", "tpe", "thompson", "confirmation", "reduced")
STATES = ("completed", "stopped", "failed")

_RUN_KEY = [
    pa.field("study", pa.string(), nullable=False),  # "<task>:<backbone>"
    pa.field("number", pa.int32(), nullable=False),  # unique in its study, confirmations last
]

TRIALS = pa.schema(
    [
        *_RUN_KEY,
        pa.field("task", pa.string(), nullable=False),
        pa.field("backbone", pa.string(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),  # one of PHASES
        pa.field("state", pa.string(), nullable=False),  # one of STATES, derived from epochs
        pa.field("error", pa.string()),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("freeze_depth", pa.int32(), nullable=False),  # leading frozen blocks: where tuning starts
        pa.field("tune_stop", pa.int32(), nullable=False),  # where it ends: num_blocks without a window
        pa.field("num_blocks", pa.int32(), nullable=False),
        pa.field("freeze_frac", pa.float64(), nullable=False),
        pa.field("learning_rate", pa.float64()),  # null where every block is frozen
        pa.field("head_learning_rate", pa.float64(), nullable=False),
        pa.field("weight_decay", pa.float64(), nullable=False),
        pa.field("layer_decay", pa.float64()),  # null where every block is frozen
        pa.field("head_init", pa.string(), nullable=False),
        pa.field("stay_near", pa.float64()),  # null where every block is frozen
        pa.field("batch_size", pa.int32(), nullable=False),
        pa.field("max_epochs", pa.int32(), nullable=False),
        pa.field("train_frac", pa.float64(), nullable=False),  # share of the training split: below 1 in phase reduced
        pa.field("config", pa.string(), nullable=False),  # the whole FinetuneConfig as JSON
        pa.field("epochs", pa.int32(), nullable=False),  # completed
        pa.field("best_epoch", pa.int32()),
        pa.field("metric", pa.string()),  # what `score` columns hold: accuracy, f1_macro or r2
        pa.field("val_score", pa.float64()),  # at best_epoch; null for a trial without an epoch
        pa.field("val_loss", pa.float64()),
        pa.field("val_accuracy", pa.float64()),
        pa.field("val_f1_macro", pa.float64()),
        pa.field("val_r2", pa.float64()),
        pa.field("val_mae", pa.float64()),
        pa.field("num_val", pa.int32()),
        pa.field("num_params", pa.int64()),
        pa.field("num_params_trainable", pa.int64()),
        pa.field("train_s", pa.float64()),  # training steps alone, all epochs
        pa.field("duration_s", pa.float64()),  # wall, from handing over to the last report
        pa.field("memory_mib", pa.float64()),
        pa.field("device", pa.string()),
        pa.field("node", pa.string()),
        pa.field("frozen_digest", pa.string()),  # of frozen parameters and buffers, proven unmoved
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("finished_at", pa.timestamp("us", tz="UTC")),
        pa.field("num_attempts", pa.int32()),  # workers it was handed to; null in tables from before it was counted
    ]
)

ATTEMPTS = pa.schema(
    [
        *_RUN_KEY,
        pa.field("attempt", pa.int32(), nullable=False),  # 1-based
        pa.field("cause", pa.string()),  # null of the first; else why the one before did not end the run
        pa.field("started_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

USAGE = ("elapsed_s", "cpu_cores", "host_memory_mib", "gpu_memory_mib", "gpu_utilization")
"""Columns of `EPOCHS` on what the worker took (`orchestrator.workers.usage.Usage`), null where it did not measure it.
The first is of the run so far, all attempts. In the facts of checkpoints by epoch, under `USED`."""

USED = "usage"

EPOCHS = pa.schema(
    [
        *_RUN_KEY,
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("train_loss", pa.float64()),
        pa.field("val_loss", pa.float64()),
        pa.field("val_accuracy", pa.float64()),
        pa.field("val_f1_macro", pa.float64()),
        pa.field("val_r2", pa.float64()),
        pa.field("val_mae", pa.float64()),
        pa.field("val_score", pa.float64()),
        pa.field("train_s", pa.float64()),
        pa.field("eval_s", pa.float64()),
        pa.field("finished_at", pa.timestamp("us", tz="UTC")),
        *(pa.field(name, pa.float64()) for name in USAGE),
    ]
)

TESTS = pa.schema(
    [
        *_RUN_KEY,
        pa.field("metric", pa.string(), nullable=False),
        pa.field("test_score", pa.float64(), nullable=False),
        pa.field("test_loss", pa.float64(), nullable=False),
        pa.field("test_accuracy", pa.float64()),  # null what the kind of task does not have
        pa.field("test_f1_macro", pa.float64()),
        pa.field("test_r2", pa.float64()),
        pa.field("test_mae", pa.float64()),
        pa.field("test_mse", pa.float64()),
        pa.field("chance", pa.float64(), nullable=False),  # the metric's value for the best constant answer
        pa.field("num_test", pa.int32(), nullable=False),
        # Of each test sample, exactly one of the two: `correct` where the answer is right or wrong, as
        # numpy.packbits; of a regression the sample's part of R2, whose mean is R2.
        pa.field("correct", pa.binary()),
        pa.field("example_scores", pa.list_(pa.float32())),
        # Of test samples under perturbations, null where that was not measured: the mean of the metric over
        # perturbations, and of each perturbed sample the mean of its `correct` or `example_scores`.
        pa.field("perturbed_score", pa.float64()),
        pa.field("perturbed_example_scores", pa.list_(pa.float32())),
    ]
)

RESUMED = "resumed"
"""Cause in `ATTEMPTS` of an attempt that follows the end of the sweep's driver; any other is the run's own."""

OF_EXAMPLES = ("correct", "example_scores", "perturbed_example_scores")
"""Columns of `TESTS` with a value for each test sample."""

MEASURES = pa.schema(
    [
        *_RUN_KEY,
        pa.field("name", pa.string(), nullable=False),  # as `trainables.evaluate.Measure` has it
        pa.field("split", pa.string(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("value", pa.float64()),  # null where it is not defined
    ]
)

SCREEN = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("backbone", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),  # as `trainables.screen.ScreenScore` has it; more is better
        pa.field("value", pa.float64()),  # null where it is not defined
        pa.field("duration_s", pa.float64()),
    ]
)

_BEFORE: Mapping[str, Any] = {"train_frac": 1.0}
"""What a column that may not be null held, in effect, in tables from before there was such a column."""

_PIECE = 500
"""Rows put together at a time when many are read: a row by itself takes ten times the memory."""


class TableDamaged(OrchestratorError):
    """A table's file does not start with the schema it should have."""


class AppendOnlyTable:
    """Rows on disk as an Arrow IPC stream that only ever grows.

    What is appended at a time is one record batch, written and synced to disk before the call returns. A
    process killed in the middle of a write leaves a torn last batch: readers stop before it, and the next
    writer cuts it off. One writer at a time; readers need no lock.

    A table of an earlier version, which lacks columns, is read with nulls in their place; nothing is added to it.

    Raises:
        TableDamaged: the file exists and does not hold this schema.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self._written = schema  # what the file was begun with
        self._end: int | None = None  # where this writer's last row ends; None before its first
        self._rows = schema.empty_table()  # as read so far, up to this offset:
        self._whole = 0

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row durably. Raises as `append_all`."""
        self.append_all([row])

    def append_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows durably, all or none of them; none leaves the file as it is.

        Raises:
            ValueError: a row has a column the schema lacks, or lacks one that may not be null.
            TableDamaged: the file is of an earlier version.
            OSError: the disk is full or gone; what was written before stays readable.
        """
        for row in rows:
            unknown = row.keys() - set(self.schema.names)
            null = [f.name for f in self.schema if not f.nullable and row.get(f.name) is None]
            if unknown or null:
                raise ValueError(f"{self.path.name}: unknown columns {sorted(unknown)}, missing values {null}")
        if not rows:
            return
        batch = pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=self.schema)
        with self.path.open("ab") as file:
            if file.tell() != self._end:
                end = self._follow()
                if self._written != self.schema:
                    raise TableDamaged(f"{self.path} was written by an earlier version: it can be read, not added to")
                file.seek(file.truncate(end))
            if file.tell() == 0:
                file.write(self.schema.serialize())
            file.write(batch.serialize())
            file.flush()
            os.fsync(file.fileno())
            self._end = file.tell()

    def read(self) -> pa.Table:
        """Every whole row, in the order written; an empty table where there is no file yet.

        What this object has read before it does not parse again.
        """
        self._follow()
        return self._rows

    def _follow(self) -> int:
        """Take in the rows added since the last time. Returns the offset at which the last whole one ends."""
        header = self.schema.serialize().to_pybytes()
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._whole:  # another file than the one that was read
            self._rows, self._whole = self.schema.empty_table(), 0
        if size < len(header) and (size == 0 or header.startswith(self.path.read_bytes())):
            return 0
        pieces, batches = [self._rows], []
        with pa.memory_map(str(self.path)) as source:
            if not self._whole:
                self._whole = self._after_schema(source)
            source.seek(self._whole)
            while True:
                try:
                    batches.append(pa.ipc.read_record_batch(pa.ipc.read_message(source), self._written))
                except (EOFError, pa.ArrowInvalid, OSError):
                    break  # the end, or the torn batch of a writer that was killed
                self._whole = source.tell()
                if len(batches) == _PIECE:
                    pieces.append(self._completed(batches).combine_chunks())
                    batches.clear()
            # In one piece: a table of ten thousand chunks takes seconds to filter, and ten times its size.
            if batches or len(pieces) > 1:
                pieces.append(self._completed(batches))
                self._rows = pa.concat_tables(pieces).combine_chunks()
        return self._whole

    def _after_schema(self, source: pa.NativeFile) -> int:
        try:
            schema = pa.ipc.read_schema(source)
        except (EOFError, pa.ArrowInvalid, OSError) as error:
            raise TableDamaged(f"{self.path} is not a table of this program: {error}") from error
        if [field for field in self.schema if field in list(schema)] != list(schema) or not self._can_do_without(
            schema
        ):
            raise TableDamaged(f"{self.path} was written by another version: its columns are not the ones read here")
        self._written = schema
        return int(source.tell())

    def _can_do_without(self, schema: pa.Schema) -> bool:
        """Whether it is known what the columns that `schema` lacks would hold."""
        return all(f.nullable or f.name in _BEFORE for f in self.schema if f.name not in schema.names)

    def _completed(self, batches: Sequence[pa.RecordBatch]) -> pa.Table:
        """Rows as they were written, with all columns there are today."""
        table = pa.Table.from_batches(batches, self._written)
        columns = [
            table[field.name]
            if field.name in self._written.names
            else pa.repeat(pa.scalar(_BEFORE.get(field.name), field.type), len(table))
            for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)
