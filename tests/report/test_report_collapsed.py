"""Confirmations that collapsed: counted, told, and in no mean, as in the ranking."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from made_folder import MadeFolder
from parsed import parse

from orchestrator.folder import SweepFolder
from orchestrator.ranking import Ranking, fallen
from orchestrator.report import write_report
from orchestrator.report.quality import few_labels
from orchestrator.report.reading import read_sweep
from orchestrator.results import counted_evaluations

MADE = MadeFolder(backbones=("timm/a", "timm/b"), num_tpe=2, num_pictures=0, num_confirmations=5, collapse=0.2)


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, Ranking]:
    return MADE.ranked(tmp_path_factory.mktemp("collapsed"))


def test_who_collapsed_is_who_the_ranking_leaves_out(collapsed: tuple[SweepFolder, Ranking]) -> None:
    folder, ranking = collapsed
    counts = {row["backbone"]: row["num_collapsed"] for row in ranking.table.to_pylist()}
    assert any(counts.values())
    assert not all(counts.values()), "one without shows that nobody else is left out"
    trials, _, tests = folder.tables()
    gone = fallen(trials, tests, frozenset())
    for name, count in counts.items():
        assert sum(study == f"digits:{name}" for study, _ in gone) == count
    # Those that do not count anyway cannot collapse, nor drag the others' median.
    every = {(row["study"], row["number"]) for row in trials.to_pylist()}
    assert fallen(trials, tests, every) == frozenset()
    measured = {(one.study, one.number) for one in counted_evaluations(folder)}
    assert not measured & gone
    assert len(measured) == 5 * len(counts) - len(gone)


def test_means_are_without_them(collapsed: tuple[SweepFolder, Ranking]) -> None:
    folder, ranking = collapsed
    trials, _, tests = folder.tables()
    gone = fallen(trials, tests, frozenset())
    losses = [row for row in folder.measures_table().to_pylist() if row["name"] == "loss" and row["split"] == "test"]
    for study in read_sweep(folder, ranking).studies:
        name = f"{study.task}:{study.backbone}"
        kept = [row["value"] for row in losses if row["study"] == name and (name, row["number"]) not in gone]
        assert study.measures.num_runs == len(study.confirmations) == len(kept)
        assert study.measures.mean("loss") == pytest.approx(np.mean(kept))
        assert len(study.fallen) == study.row["num_collapsed"]
        scores = [study.tests[run["number"]]["test_score"] for run in study.confirmations]
        assert study.row["confirmation_mean"] == pytest.approx(np.mean(scores))
        [few] = few_labels(study)
        assert few.rows[-1][1] == str(len(scores))  # type: ignore[union-attr]


def test_the_page_says_how_many(collapsed: tuple[SweepFolder, Ranking], tmp_path: Path) -> None:
    folder, ranking = collapsed
    page = parse(write_report(folder, ranking))
    total = sum(row["num_collapsed"] for row in ranking.table.to_pylist())
    assert re.search(r"\d collapsed ones? left out\)", page.text)
    assert "collapsed, left out" in page.text, "its learning curve is drawn, and named"
    [table] = [node for node in page.root.all("table") if node.attributes["aria-label"].startswith("Possible ranks")]
    columns = [cell.text for cell in table.all("th") if cell.attributes["scope"] == "col"]
    place = columns.index("collapsed")
    rows = [list(row.all("th", "td")) for row in table.all("tr")][1:]
    assert sum(int(row[place].text) for row in rows) == total
