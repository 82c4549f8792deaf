"""A confirmation is evaluated without its result depending on it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.evaluated import Evaluated
from orchestrator.folder import SweepFolder
from orchestrator.workers.request import RunRequest
from orchestrator.workers.worker import FinetuneWorker
from trainables.config import FinetuneConfig, TaskSpec
from trainables.errors import InvalidConfig
from trainables.evaluate import Findings, Measure, Picture, Subject
from trainables.evaluation import Evaluation

NAME = "timm/test_resnet@random"
TASK = TaskSpec(name="digits", image_size=32, num_train=33, num_val=20, num_test=22)


def found(subject: Subject, evaluation: Evaluation) -> Findings:
    time.sleep(0.3)
    return Findings(
        measures=(Measure(name="ece", value=0.25), Measure(name="auroc", value=float("nan"))),
        pictures=(Picture(name="seen", caption="what it saw", png=b"png"),),
        perturbed_score=0.5,
        perturbed_example_scores=np.array([0.5, 1.0], dtype=np.float32),
        confusion=np.eye(10, dtype=np.int64),
        notes=(f"asked for {evaluation.num_attacked}",),
    )


def refused(subject: Subject, evaluation: Evaluation) -> Findings:
    raise InvalidConfig("num_explained needs captum:\npip install it")


def broken(subject: Subject, evaluation: Evaluation) -> Findings:
    raise ZeroDivisionError("a bug")


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("trainables.evaluate.EVALUATORS", (refused, found, broken))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def request(storage: Path, **changes: Any) -> RunRequest:
    folder = SweepFolder.create(storage, "s", "")
    made = RunRequest(
        number=3,
        phase="confirmation",
        task=TASK,
        config=FinetuneConfig(backbone=NAME, freeze_depth=2, max_epochs=1, batch_size=8),
        evaluation=Evaluation(num_attacked=7),
        num_threads=1,
        test_file=str(folder.test_file(0, 3)),
    )
    return replace(made, **changes)


def finished(made: RunRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a worker reports of its only epoch, and the test row it leaves."""
    worker = FinetuneWorker(made.to_tune())
    try:
        return worker.step(), json.loads(Path(made.test_file).read_text())
    finally:
        worker.stop()


def test_failures_are_notes_and_the_rest_is_there(tmp_path: Path) -> None:
    made = request(tmp_path)
    result, test = finished(made)
    assert result["done"]
    assert "error" not in result
    assert (test["perturbed_score"], test["perturbed_example_scores"]) == (0.5, [0.5, 1.0])
    evaluated = Evaluated.read(made.test_file, study=made.study, number=3)
    assert evaluated is not None
    values = {row["name"]: row["value"] for row in evaluated.measures}
    assert (values.pop("evaluation_s") >= 0.3, values) == (True, {"ece": 0.25, "auroc": None})
    assert evaluated.failures == (
        "evaluation failed: refused: num_explained needs captum:\\npip install it",
        "evaluation failed: broken: ZeroDivisionError: a bug",
    )
    assert evaluated.notes == ("asked for 7", *evaluated.failures)
    assert (evaluated.class_names, len(evaluated.confusion or ())) == (tuple("0123456789"), 10)
    assert evaluated.picture_files["seen.png"].read_bytes() == b"png"
    traceback = made.error_file.read_text()
    assert "ZeroDivisionError: a bug" in traceback
    assert "in broken" in traceback
    assert "InvalidConfig" not in traceback, "what the user can mend is no bug"


def test_what_an_evaluation_takes_is_no_cost_of_adapting(tmp_path: Path) -> None:
    made = request(tmp_path)
    started = time.perf_counter()
    result, _ = finished(made)
    assert result["duration_s"] + 0.3 <= time.perf_counter() - started


def test_only_what_is_to_be_evaluated_is(tmp_path: Path) -> None:
    plain = request(tmp_path / "plain", evaluation=None)
    _, test = finished(plain)
    assert "perturbed_score" not in test
    assert Evaluated.read(plain.test_file, study=plain.study, number=3) is None
    assert not plain.error_file.exists()


def test_a_reduced_run_trains_on_its_share(tmp_path: Path) -> None:
    made = request(tmp_path, phase="reduced", train_frac=0.5, evaluation=None)
    result, test = finished(made)
    assert result["step"] == 2, "16 samples in batches of 8"
    assert test["num_test"] == 22
