"""``ls`` and ``show`` of sweeps that run, were interrupted, have ended or are damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrator.folder import FINISHED_AT, SweepFolder
from orchestrator.lease import lease
from orchestrator.overview import overview
from orchestrator.records import RESUMED
from orchestrator.results import rank_sweep, write_ranking

Run = Callable[..., tuple[int, str, str]]

ENDED = "2026-03-01T12:00:00+00:00"


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> SweepFolder:
    """The finished sweep in a storage folder of its own, to be broken."""
    [finished] = stored.glob("finished-*")
    shutil.copytree(finished, tmp_path / "sweeps" / "mine")
    folder = SweepFolder(tmp_path / "sweeps" / "mine")
    folder.write_facts(folder.read_facts() | {FINISHED_AT: ENDED})
    return folder


def listed(folder: SweepFolder) -> dict[str, Any]:
    found = overview(folder).document()
    return {name: found[name] for name in ("state", "runs", "planned", "failed", "retried")}


def attempts_of(folder: SweepFolder, study: str, number: int, *causes: str | None) -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    folder.attempts.append_all(
        [
            {"study": study, "number": number, "attempt": place, "cause": cause, "started_at": moment}
            for place, cause in enumerate(causes, 1)
        ]
    )


def cut(folder: SweepFolder, keep: int) -> None:
    """As a driver leaves a sweep that was killed after `keep` runs."""
    folder.write_facts({name: value for name, value in folder.read_facts().items() if name != FINISHED_AT})
    rows = folder.trials.read().to_pylist()[:keep]
    folder.trials.path.unlink()
    folder.trials.append_all(rows)


def test_all_states_in_one_list(stored: Path, folder: SweepFolder, run: Run, run_json: Callable[..., Any]) -> None:
    storage = folder.path.parent
    [begun] = stored.glob("begun-*")
    for name in ("killed", "held", "torn", "odd", "begun"):
        shutil.copytree(begun if name == "begun" else folder.path, storage / name)
    cut(SweepFolder(storage / "killed"), 9)
    (storage / "torn" / "trials.arrows").write_bytes(b"\x00" * 400)
    (storage / "odd" / "sweep.json").write_text('{"name": "odd"}')
    with lease(storage / "held" / "lease.json"):
        rows = {row["sweep"]: row for row in run_json("ls", "--storage", str(storage))}
        code, out, err = run("ls", "--storage", str(storage))
    assert {name: row["state"] for name, row in rows.items()} == {
        "mine": "finished", "killed": "interrupted", "held": "running", "torn": "damaged", "odd": "unknown",
        "begun": "interrupted",
    }  # fmt: skip
    assert {(row["runs"], row["planned"]) for row in (rows["mine"], rows["held"])} == {(16, 16)}
    assert (rows["killed"]["runs"], rows["killed"]["planned"]) == (9, 16)
    assert (rows["begun"]["runs"], rows["begun"]["planned"]) == (0, 16)
    assert (rows["torn"]["runs"], rows["odd"]["planned"]) == (None, None)
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert f"held: running, process {os.getpid()} on" in text
    assert f"killed: interrupted, to go on: python -m orchestrator resume killed --storage {storage}" in text
    assert "torn: damaged," in text
    assert "trials.arrows is not a table of this program" in text
    assert "9/16" in text


@pytest.mark.parametrize("name", ["trials.arrows", "attempts.arrows", "sweep.json", "ranking.json"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x00garbage" * 20, b"[]", b'{"settings": 3}'])
def test_no_damage_takes_the_list_down(folder: SweepFolder, run: Run, name: str, content: bytes) -> None:
    (folder.path / name).write_bytes(content)
    code, out, err = run("ls", "--storage", str(folder.path.parent))
    assert (code, err) == (0, "")
    assert "Traceback" not in out
    assert overview(folder).state == "damaged"
    assert name in overview(folder).detail
    if name == "sweep.json":
        code, out, err = run("rank", "--storage", str(folder.path.parent))
        assert (code, out) == (4, "")
        assert f"{folder.path / name} is damaged" in err


def test_an_end_that_was_written_down_counts(folder: SweepFolder) -> None:
    assert listed(folder) == {"state": "finished", "runs": 16, "planned": 16, "failed": 2, "retried": 0}
    facts = {name: value for name, value in folder.read_facts().items() if name not in (FINISHED_AT, "config")}
    folder.write_facts(facts)
    assert overview(folder).state == "finished", "of an earlier version, which wrote down neither"
    folder.write_facts(facts | {"config": "name: x\n"})
    assert overview(folder).state == "interrupted"
    assert "all its runs have ended, and it was not ranked" in overview(folder).detail
    folder.write_facts(facts | {"config": "name: x\n", FINISHED_AT: ENDED})
    assert overview(folder).state == "finished"
    folder.write_facts({"config": "name: x\n", "settings": facts["settings"], "studies": []})
    assert overview(folder).state == "interrupted", "killed before its data was read"
    folder.write_facts(facts | {"studies": [3]})
    assert overview(folder).state == "damaged"


def test_what_was_tried_again_is_counted_and_told(folder: SweepFolder, run: Run, run_json: Callable[..., Any]) -> None:
    first, second = sorted({row["study"] for row in folder.trials.read().to_pylist()})
    folder.attempts.path.unlink()
    attempts_of(folder, first, 1, None, "the worker process ended without a word", RESUMED)
    attempts_of(folder, second, 1, None, RESUMED)
    attempts_of(folder, second, 77, None, "RuntimeError: bus error")
    storage = str(folder.path.parent)
    assert listed(folder)["retried"] == 2, "going on with a sweep is no retry"
    document = run_json("show", "--storage", storage)
    assert [(row["study"], row["number"]) for row in document["unfinished"]] == [(second, 77)]
    assert {len(row["attempts"]) for row in document["runs"]} == {0, 2, 3}
    code, out, _ = run("show", "--storage", storage)
    assert code == 0
    assert f"#77 {second}: begun, not ended; 0 epochs, attempt 2" in out
    assert "attempt 2 after: RuntimeError: bus error" in out
    code, out, _ = run("show", "--trial", "1", "--storage", storage)
    assert code == 0
    lines = [
        line.split(maxsplit=4) for line in out.splitlines() if line.startswith((" 1  2026", " 2  2026", " 3  2026"))
    ]
    assert len(lines) == 5
    assert [line[0] for line in lines] == ["1", "2", "3", "1", "2"]
    assert lines[1][4].strip() == "after: the worker process ended without a word"
    assert lines[2][4].strip() == f"after: {RESUMED}"
    code, out, _ = run("show", "--trial", "77", "--storage", storage)
    assert code == 0, "it has not ended, and there is something to say of it"
    assert "bus error" in out


def test_what_the_last_attempt_left_is_shown(folder: SweepFolder, run_json: Callable[..., Any]) -> None:
    rows = folder.trials.read().to_pylist()
    folder.trials.path.unlink()
    folder.trials.append_all([row | {"num_attempts": 2 if row["number"] == 6 else 1} for row in rows])
    for index in (0, 1):
        first, last = folder.test_file(index, 6), folder.test_file(index, 6, 2)
        (folder.path / "evaluations" / first.name).rename(folder.path / "evaluations" / last.name)
        (folder.path / "pictures" / first.stem).rename(folder.path / "pictures" / last.stem)
    runs = run_json("show", "--trial", "6", "--storage", str(folder.path.parent))["runs"]
    assert [(run["notes"], list(run["pictures"].values())) for run in runs] == 2 * [(["no meter"], ["where it looked"])]


def test_superseded_confirmations_are_listed_as_such(
    folder: SweepFolder, run: Run, run_json: Callable[..., Any]
) -> None:
    before = rank_sweep(folder).table.to_pylist()
    study = before[0]["task"] + ":" + before[0]["backbone"]
    rows = [row for row in folder.trials.read().to_pylist() if row["study"] == study]
    other = next(row for row in rows if row["phase"] == "random" and row["number"] != before[0]["chosen_number"])
    config = json.dumps(json.loads(other["config"]) | {"seed": 5})
    old = [other | {"phase": "confirmation", "number": n, "seed": n, "config": config} for n in (20, 21)]
    test = next(row for row in folder.tests.read().to_pylist() if row["study"] == study)
    folder.tests.append_all([test | {"number": row["number"], "test_score": 0.999} for row in old])
    folder.trials.append_all(old)
    assert rank_sweep(folder).table.to_pylist()[0]["score"] == before[0]["score"]
    runs = run_json("show", "--storage", str(folder.path.parent))["runs"]
    assert {(row["study"], row["number"]) for row in runs if row["superseded"]} == {(study, 20), (study, 21)}
    code, out, _ = run("show", "--storage", str(folder.path.parent))
    assert code == 0
    assert out.count("confirmation, superseded") == 2


def test_the_files_for_other_programs_are_replaced_whole(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while they are written leaves the ones before."""
    ranking = rank_sweep(folder)
    files = write_ranking(folder, ranking)
    assert not list(folder.path.glob(".*.tmp"))
    assert pq.read_table(files["ranking.parquet"]).equals(ranking.table)
    assert pq.read_table(files["trials.parquet"]).equals(folder.trials.read())
    before = {name: file.read_bytes() for name, file in files.items()}

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for where in ("orchestrator.folder.os.replace", "orchestrator.results.pq.write_table"):
        with monkeypatch.context() as patched:
            patched.setattr(where, dies)
            with pytest.raises(KeyboardInterrupt):
                write_ranking(folder, ranking)
        assert {name: file.read_bytes() for name, file in files.items()} == before


def test_an_interrupted_sweep_is_ranked_as_far_as_it_came(
    folder: SweepFolder, run: Run, run_json: Callable[..., Any]
) -> None:
    cut(folder, 9)
    storage = str(folder.path.parent)
    [document] = run_json("rank", "--storage", storage)
    assert {row["status"] for row in document["ranking"]} == {"insufficient"}
    assert all(0 < row["coverage"] < 1 and row["score"] is None for row in document["ranking"])
    code, out, err = run("rank", "--storage", storage)
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert "coverage" in text
    assert "The sweep has not come to its end: " in text
    assert "of 6 trials and 0 of 2 confirmations" in text


def test_an_interrupted_sweep_is_reported_and_nothing_of_it_is_left_running(
    folder: SweepFolder, run: Run, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    cut(folder, 9)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code, out, _ = run("report", "--storage", str(folder.path.parent), "--tracking-uri", uri, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["tracked"] is True
    assert {row["status"] for row in document["ranking"]} == {"insufficient"}
    assert "The sweep has not come to its end" in (folder.path / "report.html").read_text()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("adapt/digits")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(runs) == 1 + 2 + 9, "the sweep, its models, its runs"
    assert "RUNNING" not in {run.info.status for run in runs}
