"""Sweeps that were given more budget, took several attempts, or were stopped: what the page says of it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from made_folder import MadeFolder, only
from parsed import parse

from orchestrator.folder import SweepFolder
from orchestrator.ranking import Planned, rank
from orchestrator.records import RESUMED
from orchestrator.report import write_report
from orchestrator.report.document import Table
from orchestrator.report.reading import read_sweep
from orchestrator.report.spending import spending
from orchestrator.results import counted_evaluations, rank_sweep

MADE = MadeFolder(backbones=("timm/a",), num_tpe=2, num_pictures=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return MADE.write(tmp_path_factory.mktemp("unfinished"))


def supersede(folder: SweepFolder) -> set[int]:
    """Add evaluated confirmations of what was not chosen, with a run on less data. Returns their numbers."""
    chosen = rank_sweep(folder).table["chosen_number"][0].as_py()
    rows = folder.trials.read().to_pylist()
    other = next(row for row in rows if row["state"] == "completed" and row["number"] not in (chosen, *range(900, 990)))
    old = [other | {"phase": "confirmation", "number": number, "seed": number} for number in (970, 971, 972)]
    old.append(other | {"phase": "reduced", "train_frac": 0.1, "number": 973})
    test = folder.tests.read().to_pylist()[0]
    folder.tests.append_all([test | {"number": row["number"], "test_score": 0.123} for row in old])
    folder.epochs.append_all([folder.epochs.read().to_pylist()[0] | {"number": row["number"]} for row in old])
    for row in old[:3]:
        MADE._evaluate(folder, row, np.random.default_rng(99))
    folder.trials.append_all(old)
    return {row["number"] for row in old}


def test_superseded_confirmations_are_spent_and_nowhere_else(folder: SweepFolder, tmp_path: Path) -> None:
    before = read_sweep(folder, rank_sweep(folder))
    evaluated = len(counted_evaluations(folder))
    old = supersede(folder)
    after = read_sweep(folder, rank_sweep(folder))
    [one], [other] = before.studies, after.studies
    assert other.superseded == old
    for name in ("profile", "tests", "tuning_curve", "depth_curve", "confirmations", "search", "seeds"):
        assert getattr(other, name) == getattr(one, name), name
    assert other.measures.num_runs == one.measures.num_runs == 3
    assert other.measures.mean("score") == one.measures.mean("score")
    assert len(other.evaluated.each) == len(one.evaluated.each)
    assert len(counted_evaluations(folder)) == evaluated == 3
    assert set(other.epochs) == set(one.epochs)
    [budget] = [table for table in spending(after.studies)[0].blocks if isinstance(table, Table)]
    row = dict(zip(budget.columns, budget.rows[0], strict=True))
    assert (row["confirmations"], row["with few labels"], row["superseded"]) == ("3", "2", "4")
    text = parse(write_report(folder, rank_sweep(folder))).text
    assert "0.123" not in text
    assert "12.3" not in text
    assert "a confirmation of what was chosen before the sweep was given more trials" in text


def test_runs_that_were_tried_again_are_told_with_the_reasons(folder: SweepFolder) -> None:
    [study] = read_sweep(folder, rank_sweep(folder)).studies
    sections = spending([study])
    assert "retried" not in {section.anchor for section in sections}, "nothing was"
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    causes = (None, "Traceback:\n  x\nRuntimeError: lost s3://key:hunter2@bucket", RESUMED)
    attempts = [{"number": 1, "attempt": n, "cause": cause, "started_at": moment} for n, cause in enumerate(causes, 1)]
    again = dataclasses.replace(study, attempts={1: attempts, 77: [attempts[0] | {"number": 77, "cause": RESUMED}]})
    [section] = [section for section in spending([again]) if section.anchor == "retried"]
    [table] = [block for block in section.blocks if isinstance(block, Table)]
    assert table.caption.startswith("2 runs that a worker did not bring to an end")
    assert [row[1:] for row in table.rows] == [
        ("#1", "2", "RuntimeError: lost s3://***@bucket", "completed"),
        ("#1", "3", "the sweep was resumed", "completed"),
        ("#77", "1", "the sweep was resumed", "not ended"),
    ]


def test_a_backbone_that_had_no_turn_is_on_the_page(folder: SweepFolder, tmp_path: Path) -> None:
    trials = folder.trials.read()
    begun = only(folder, trials.filter(pc.less(trials["number"], 4)), tmp_path)
    planned = {f"digits:timm/{name}": Planned(trials=8, confirmations=3, reduced=0) for name in ("a", "late")}
    ranking = rank(begun.trials.read(), begun.tests.read(), planned=planned)
    text = parse(write_report(begun, ranking)).text
    assert "The sweep has not come to its end: a has 4 of 8 trials" in text
    assert "late has no finished run" in text
    assert "no run has ended" in text
