"""The sweep's durable tables: Arrow schemas, and an append-only file that survives a kill.

Test measurements live in a table of their own. What searches, schedules or chooses is handed
`TRIALS` rows, whose schema has no test column, so a test score cannot reach it by accident.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

__all__ = ["EPOCHS", "PHASES", "STATES", "TESTS", "TRIALS", "AppendOnlyTable", "read_table"]

PHASES = ("random", "tpe", "confirmation")
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
        pa.field("freeze_depth", pa.int32(), nullable=False),
        pa.field("num_blocks", pa.int32(), nullable=False),
        pa.field("freeze_frac", pa.float64(), nullable=False),
        pa.field("learning_rate", pa.float64()),  # null where every block is frozen
        pa.field("head_learning_rate", pa.float64(), nullable=False),
        pa.field("weight_decay", pa.float64(), nullable=False),
        pa.field("layer_decay", pa.float64()),  # null where every block is frozen
        pa.field("batch_size", pa.int32(), nullable=False),
        pa.field("max_epochs", pa.int32(), nullable=False),
        pa.field("config", pa.string(), nullable=False),  # the whole FinetuneConfig as JSON
        pa.field("epochs", pa.int32(), nullable=False),  # completed
        pa.field("best_epoch", pa.int32()),
        pa.field("metric", pa.string()),  # what `score` columns hold: accuracy or f1_macro
        pa.field("val_score", pa.float64()),  # at best_epoch; null for a trial without an epoch
        pa.field("val_loss", pa.float64()),
        pa.field("val_accuracy", pa.float64()),
        pa.field("val_f1_macro", pa.float64()),
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
    ]
)

EPOCHS = pa.schema(
    [
        *_RUN_KEY,
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("train_loss", pa.float64()),
        pa.field("val_loss", pa.float64()),
        pa.field("val_accuracy", pa.float64()),
        pa.field("val_f1_macro", pa.float64()),
        pa.field("val_score", pa.float64()),
        pa.field("train_s", pa.float64()),
        pa.field("eval_s", pa.float64()),
        pa.field("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)

TESTS = pa.schema(
    [
        *_RUN_KEY,
        pa.field("metric", pa.string(), nullable=False),
        pa.field("test_score", pa.float64(), nullable=False),
        pa.field("test_loss", pa.float64(), nullable=False),
        pa.field("test_accuracy", pa.float64(), nullable=False),
        pa.field("test_f1_macro", pa.float64(), nullable=False),
        pa.field("chance", pa.float64(), nullable=False),  # majority-class value of the metric
        pa.field("num_test", pa.int32(), nullable=False),
        pa.field("correct", pa.binary(), nullable=False),  # numpy.packbits, one bit per test sample
    ]
)
