"""Sweeps that lack something: the page says what was not measured, and how to have it measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from made_folder import MadeFolder, only
from parsed import parse

from orchestrator.folder import SweepFolder
from orchestrator.ranking import RaceEnd, Ranking, aggregate, rank
from orchestrator.report import write_report
from orchestrator.report.answer import by_short_name
from orchestrator.report.components import components
from orchestrator.report.document import Missing, Prose, Table
from orchestrator.report.panel import panel
from orchestrator.report.reading import read_sweep
from orchestrator.report.wording import points
from orchestrator.results import rank_sweep


def test_a_regression_has_neither_classes_nor_probabilities(tmp_path: Path) -> None:
    page = parse(
        write_report(*MadeFolder(backbones=("timm/a",), metric="r2", num_pictures=0, num_tpe=2).ranked(tmp_path))
    )
    assert "Calibration. A regression gives no probabilities." in page.text.replace("\n", "")
    assert "onfusion" not in page.text
    assert "R²" in page.text
    assert "mean squared error" in page.text
    assert "accuracy" not in page.text.replace("perturbed accuracy", "")


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_nothing_to_rank(swept: tuple[SweepFolder, Ranking], tmp_path: Path, state: str) -> None:
    """One trial of each backbone, which is too few or failed; no confirmation."""
    trials = swept[0].trials.read()
    of_state = trials.filter(pc.and_(pc.equal(trials["state"], state), pc.not_equal(trials["phase"], "confirmation")))
    number = 0 if state == "completed" else 900
    folder = only(swept[0], of_state.filter(pc.equal(of_state["number"], number)), tmp_path)
    page = parse(write_report(folder, rank_sweep(folder)))
    assert "No backbone has enough finished runs to be ranked." in page.text
    reason = {"completed": "1 completed search trials, at least 3 are needed", "failed": "no search trial completed"}
    assert reason[state] in page.text
    assert page.text.count("Not measured:") >= 4


def test_no_run_at_all(tmp_path: Path) -> None:
    folder = SweepFolder.create(tmp_path, "empty", "name: empty\n")
    page = parse(write_report(folder, rank_sweep(folder)))
    assert "no task" in page.text
    assert "The sweep ended before its data was read" in page.text


def test_a_race_that_measured_nothing_but_scores(swept: tuple[SweepFolder, Ranking], tmp_path: Path) -> None:
    trials, _, tests = swept[0].tables()
    last = swept[1].table.to_pylist()[-1]["backbone"]
    end = RaceEnd(
        dropped={last: "dropped after 4 trials: 0.3% likely to be the best"}, sentence="race: 20 of 26 trials."
    )
    race = rank(trials, tests, races={"digits": end})
    folder = only(swept[0], trials, tmp_path)
    folder.tests.append_all(tests.to_pylist())
    text = parse(write_report(folder, race)).text.replace("\n", "")
    assert "The trained network" in text
    assert "orchestrator export" not in text, "none was kept"
    for what in (
        "race: 20 of 26 trials.",
        "dropped after 4 trials: 0.3% likely to be the best",
        "A race compares fully tuned backbones alone",
        "It takes two backbones with confirmations",
        "Robustness to perturbed inputs. Set evaluation.perturbations to all",
        "Calibration. Its confirmations were not evaluated",
        "Adversarial attacks. Set evaluation.num_attacked above 0",
        "Drift of the features (CKA). Set evaluation.num_drifted above 0",
        "Install the extra explain and set evaluation.num_explained",
        "LogME, LEEP, H-score and kNN. Set screen to true",
    ):
        assert what in text, what


def test_conditions_that_are_in_nobodys_score(swept: tuple[SweepFolder, Ranking]) -> None:
    ranking = swept[1]
    verdict = replace(
        ranking.verdicts[0],
        measured=("quality", "ease"),
        unmeasured=("data_efficiency", "robustness"),
        lacking={"robustness": ("a", "b")},
    )
    table, *missing = components(verdict, ranking, [], "t0")
    assert isinstance(table, Table)
    weights = {str(row[0]): row[2:] for row in table.rows}
    assert weights["Quality"] == ("60 %", "75 %")
    assert weights["Robustness"] == ("10 %", "not in the score")
    assert [(block.what, block.how) for block in missing if isinstance(block, Missing)] == [
        ("Data efficiency", "set confirmation.train_fracs, e.g. [0.1, 0.3], in the sweep file"),
        (
            "Robustness to perturbed inputs",
            "set evaluation.perturbations to all in the sweep file; it was not measured alike for a and b",
        ),
    ]


def test_tasks_together(swept: tuple[SweepFolder, Ranking]) -> None:
    """Twice the same task: the mean is its score."""
    ranking = swept[1]
    (scores,) = ranking.scores
    again = ranking.table.set_column(
        0, ranking.table.schema.field("task"), pa.array(["moons"] * ranking.table.num_rows)
    )
    studies = read_sweep(*swept).studies
    assert panel(ranking, studies) == []
    both = replace(
        ranking,
        table=pa.concat_tables([ranking.table, again]),
        scores=(scores, replace(scores, task="moons")),
    )
    (section,) = panel(both, studies)
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [row[2] for row in table.rows] == [points(score) for score in ranking.table["score"].to_pylist()]
    prose = [block for block in section.blocks if isinstance(block, Prose)]
    assert " ".join(paragraph for block in prose for paragraph in block.paragraphs) == by_short_name(
        " ".join(aggregate(both).sentences), studies
    )


def test_two_tasks(tmp_path: Path) -> None:
    """Too small to rank: it is the page's order that counts."""
    made = MadeFolder(tasks=("digits", "moons"), num_random=1, num_tpe=0, num_confirmations=0, num_pictures=0)
    page = parse(write_report(*made.ranked(tmp_path)))
    assert page.text.index("Task digits") < page.text.index("Task moons") < page.text.index("Budget spent")
    assert "vit_tiny (moons)" in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
