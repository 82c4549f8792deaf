"""``rank`` of tables of scores, its weights, and ``compare``."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.comparison import compare_sweeps
from orchestrator.display import print_sweep_comparison
from orchestrator.folder import SweepFolder

Run = Callable[..., tuple[int, str, str]]

SCORES = """task,backbone,seed,score,chance,correct
pets,resnet,0,0.75,0.25,01101111
pets,resnet,1,0.625,0.25,01101011
pets,vit,0,0.875,0.25,01111111
pets,vit,1,0.875,0.25,11101111
"""


@pytest.fixture
def finished(stored: Path) -> Path:
    [folder] = stored.glob("finished-*")
    return folder


def test_a_table_of_scores_is_ranked(run: Run, run_json: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text(SCORES)
    [document] = run_json("rank", str(file))
    assert document["source"] == str(file)
    assert [(row["backbone"], row["rank"], row["num_test"]) for row in document["ranking"]] == [
        ("vit", 1, 8),
        ("resnet", 2, 8),
    ]
    assert document["ranking"][0]["score"] == pytest.approx((0.875 - 0.25) / 0.75)
    assert document["aggregate"] is None
    code, out, err = run("rank", str(file))
    assert (code, err) == (0, "")
    assert "pets: adaptability in points" in " ".join(out.split())
    assert "freeze" not in out, "what such a table does not hold has no column"
    assert "How much each backbone was tuned" in out


def test_parquet_and_several_tasks(run: Run, run_json: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    rows = [("s", "a", 0.9), ("s", "b", 0.8), ("t", "a", 0.7), ("t", "b", 0.75), ("t", "c", 0.9)]
    pq.write_table(pa.Table.from_pylist([dict(zip(("task", "backbone", "score"), r, strict=True)) for r in rows]), file)
    [document] = run_json("rank", str(file))
    assert [row["backbone"] for row in document["aggregate"]["table"]] == ["a", "b", "c"]
    code, out, _ = run("rank", str(file))
    assert code == 0
    assert "1 ?" in out
    assert "all 2 tasks" in out
    assert "c has no score on s, so it is in no mean." in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task,backbone\na,b\n", "missing: ['score']"),
        ("task,backbone,score\npets,vit,91.3\n", "score must be at most 1, got 91.3"),
        ("task,backbone,score\npets,vit,good\n", "cannot be read as csv"),
        (None, "a table of scores must be a file"),
    ],
)
def test_tables_that_cannot_be_meant(run: Run, tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "scores.csv"
    if text is not None:
        file.write_text(text)
    code, out, err = run("rank", str(file))
    assert (code, out) == (2, "")
    assert said in err


def test_a_damaged_file_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"task": ["pets"], "backbone": ["vit"], "score": [0.5]}), file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-30] + b"\xff" * 18 + whole[-12:])
    code, out, err = run("rank", str(file))
    assert (code, out) == (2, "")
    assert f"{file} cannot be read as parquet" in err


def test_weights(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    def scores(*weights: str) -> list[dict[str, Any]]:
        [document] = run_json("rank", "--storage", str(stored), *weights)
        return document["ranking"]

    for weights in ("accuracy_only", "quality=2"):
        assert all(row["score"] == row["quality"] for row in scores("--weights", weights))
    assert any(row["score"] != row["quality"] for row in scores())
    for weights, said in (
        ("few_label", "did you mean 'few_labels'?"),
        ("quality=1,eas=2", "did you mean 'ease'?"),
        ("quality=many", "the weight of quality must be a number, got 'many'"),
        ("quality=-1", "weight 'quality' is -1.0"),
        ("ease=0", "no weight above 0"),
    ):
        code, out, err = run("rank", "--storage", str(stored), "--weights", weights)
        assert (code, out) == (2, "")
        assert said in err


def test_profiles(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    [document] = run_json("rank", "--storage", str(stored), "--profile")
    assert [row["on_pareto_front"] for row in document["profiles"]].count(True) >= 1
    assert {row["task"] for row in document["cost_leaders"]} == {"digits"}
    assert document["importances"] == [], "six trials say nothing of it"
    code, out, _ = run("rank", "--storage", str(stored), "--profile")
    assert code == 0
    assert "sensitivity and cost" in out
    assert "Best to expect of random search by what is spent on it" in out
    assert "profiles" not in run_json("rank", "--storage", str(stored))[0]


@pytest.fixture
def other(finished: Path, tmp_path: Path) -> Path:
    """The same sweep with another budget, another torch, and of other code."""
    folder = tmp_path / "other"
    shutil.copytree(finished, folder)
    config = (folder / "sweep.yaml").read_text()
    assert "trials: 6" in config
    (folder / "sweep.yaml").write_text(config.replace("trials: 6", "trials: 60"))
    facts = json.loads((folder / "sweep.json").read_text())
    facts["versions"]["torch"] = "9.9"
    facts |= {"git_commit": "0123456789abcdef", "git_dirty": True}
    (folder / "sweep.json").write_text(json.dumps(facts))
    return folder


def change_facts(folder: Path, **changes: Any) -> None:
    facts = json.loads((folder / "sweep.json").read_text())
    facts["studies"] = [study | changes for study in facts["studies"]]
    (folder / "sweep.json").write_text(json.dumps(facts))


def test_compare(finished: Path, other: Path, run: Run, run_json: Callable[..., Any]) -> None:
    document = run_json("compare", str(finished), str(other))
    assert (document["a"], document["b"]) == (finished.name, "other")
    assert [change["key"] for change in document["changes"]] == ["budget.trials", "code", "version of torch"]
    assert document["changes"][0] == {"key": "budget.trials", "a": "6", "b": "60"}
    assert document["changes"][1]["b"] == "0123456789ab with changes"
    assert {row["rank_change"] for row in document["comparison"]} == {0}
    assert document["closing"].startswith("b says what a says: the same order")
    assert document["closing"].endswith("Different about the sweeps: budget.trials, code, version of torch.")
    code, out, err = run("compare", str(finished), str(other))
    assert (code, err) == (0, "")
    assert "nobody changed place" in out
    assert document["closing"] in out
    lines = [line.split() for line in out.splitlines()]
    assert ["budget.trials", "6", "60"] in lines
    assert any(line[:2] == ["a", finished.name] and "2 backbones on digits," in " ".join(line) for line in lines)


def test_compare_with_the_newest_other_one_of_the_task(
    finished: Path, other: Path, run: Run, run_json: Callable[..., Any]
) -> None:
    for name in ("older", "elsewhere"):
        shutil.copytree(other, other.with_name(name))
    os.utime(other.with_name("older") / "sweep.yaml", (1, 1))
    facts = json.loads((other.with_name("elsewhere") / "sweep.json").read_text()) | {"tasks": ["flowers"]}
    (other.with_name("elsewhere") / "sweep.json").write_text(json.dumps(facts))
    document = run_json("compare", str(finished), "--storage", str(other.parent))
    assert (document["a"], document["b"]) == (finished.name, "other"), "begun has no runs, elsewhere another task"
    code, _, err = run("compare", str(finished), "--storage", str(other.with_name("nothing")))
    assert code == 2
    assert "needs another sweep on digits to be compared with" in err


def test_compare_says_what_cannot_be_compared(finished: Path, other: Path, run_json: Callable[..., Any]) -> None:
    change_facts(other, digest="1" * 64, num_train=99)
    document = run_json("compare", str(finished), str(other))
    changes = {change["key"]: (change["a"], change["b"]) for change in document["changes"]}
    assert changes["data of digits"] == ("0" * 12, "1" * 12)
    assert changes["samples of digits (train + val + test)"] == ("120 + 60 + 8", "99 + 60 + 8")
    assert document["closing"].startswith("The data of digits are not the same in both")
    change_facts(other, digest="0" * 64)
    table = SweepFolder(other)
    tests = table.tests.read().to_pylist()
    table.tests.path.unlink()
    table.tests.append_all([row | {"metric": "f1_macro"} for row in tests])
    trials = table.trials.read().to_pylist()
    table.trials.path.unlink()
    table.trials.append_all([row | {"metric": row["metric"] and "f1_macro"} for row in trials])
    document = run_json("compare", str(finished), str(other))
    assert document["closing"].startswith("Scores on digits are in different metrics")
    table.trials.path.unlink()
    renamed = [
        row
        | {"backbone": f"{row['backbone']}-b", "study": f"{row['study']}-b"}
        | {"config": json.dumps(json.loads(row["config"]) | {"backbone": f"{row['backbone']}-b"})}
        for row in trials
    ]
    table.trials.append_all(renamed)
    table.tests.path.unlink()
    table.tests.append_all([row | {"study": f"{row['study']}-b"} for row in tests])
    document = run_json("compare", str(finished), str(other))
    assert document["closing"].startswith("They rank no backbone in common")
    assert {row["status"] for row in document["comparison"]} == {"only_a", "only_b"}


@pytest.mark.parametrize("width", [80, 200])
def test_a_comparison_fits_its_terminal(finished: Path, other: Path, width: int) -> None:
    text = io.StringIO()
    found = compare_sweeps(SweepFolder(finished), SweepFolder(other))
    print_sweep_comparison(found, Console(file=text, width=width, force_terminal=True, color_system=None))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert {"moved", "95 %"} <= {word.strip() for line in lines for word in line.split("  ")}
    assert any("tf_efficientnet_lite0@pypi" in line for line in lines)


def test_compare_of_what_has_nothing_in_common(stored: Path, finished: Path, other: Path, run: Run) -> None:
    [begun] = stored.glob("begun-*")
    code, out, err = run("compare", str(begun), str(finished))
    assert (code, err) == (0, "")
    assert "Neither ranks" in out or "no backbone in common" in out
    facts = json.loads((other / "sweep.json").read_text())
    trials = SweepFolder(other)
    trials.trials.path.unlink()
    (other / "sweep.json").write_text(json.dumps(facts | {"tasks": ["flowers"], "studies": []}))
    code, _, err = run("compare", str(finished), str(other))
    assert code == 2
    assert f"must have a task in common to be compared; {finished.name} is on digits; other is on flowers" in err
    code, _, err = run("compare", finished.name, finished.name, "--storage", str(stored))
    assert code == 2
    assert "takes two sweeps" in err
    code, _, err = run("compare", finished.name, "finishd", "--storage", str(stored))
    assert code == 2
    assert "no sweep 'finishd'" in err
