"""A confirmation leaves its network, the best on validation stays, and no failure to keep one costs a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from made_model import make_model

from orchestrator.folder import SweepFolder
from orchestrator.models.kept import kept_models, model_infos, remove_superseded_models
from orchestrator.ranking.schema import RANKING
from orchestrator.records import TESTS, TRIALS
from orchestrator.workers.request import RunRequest
from orchestrator.workers.worker import FinetuneWorker
from trainables.config import FinetuneConfig, TaskSpec
from trainables.exported import load_model, read_facts

NAME = "timm/test_vit@random"
TASK = TaskSpec(name="digits", image_size=32, num_train=33, num_val=20, num_test=22)


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder.create(tmp_path, "s", "")


def confirmation(folder: SweepFolder, number: int, **options: Any) -> RunRequest:
    config = FinetuneConfig(backbone=NAME, freeze_depth=2, max_epochs=2, batch_size=8, seed=number, **options)
    return RunRequest(
        number=number,
        phase="confirmation",
        task=TASK,
        config=config,
        model_folder=str(folder.model_folder(0, number)),
        num_threads=1,
        test_file=str(folder.test_file(0, number)),
    )


def confirmed(request: RunRequest) -> dict[str, Any]:
    """What its worker reports at the end."""
    worker = FinetuneWorker(request.to_tune())
    try:
        for _ in range(request.config.max_epochs):
            result = worker.step()
    finally:
        worker.stop()
    assert result["done"], result
    return result


def test_the_network_is_kept_with_the_score_that_was_measured(folder: SweepFolder) -> None:
    request = RunRequest.from_tune(confirmation(folder, 4).to_tune())
    assert confirmed(request)["notes"] == ""
    facts = load_model(folder.model_folder(0, 4)).facts
    test = json.loads(Path(request.test_file).read_text())
    assert (facts.test_score, facts.metric) == (test["test_score"], test["metric"])
    assert facts.origin == {"sweep": folder.sweep_id, "study": f"digits:{NAME}", "number": 4, "seed": 4}


def test_of_one_configuration_the_best_on_validation_stays(folder: SweepFolder) -> None:
    requests = [confirmation(folder, number) for number in (4, 5, 6)]
    scores = {request.number: confirmed(request)["val_score"] for request in requests}
    other = confirmation(folder, 7, weight_decay=0.5)
    confirmed(other)
    kept = sorted(int(path.name) for path in (folder.path / "models" / "00").iterdir())
    facts = {number: read_facts(folder.model_folder(0, number)) for number in kept}
    assert 7 in kept, "of another configuration: which of them counts is not the worker's to say"
    [mine] = set(kept) - {7}
    assert facts[mine].val_score >= max(scores.values())
    assert len(set(scores.values())) > 1, "else this says nothing"


def test_without_being_asked_nothing_is_kept(folder: SweepFolder) -> None:
    confirmed(replace(confirmation(folder, 4), model_folder=None))
    assert not (folder.path / "models").exists()


def test_what_cannot_be_kept_is_said_and_the_run_goes_on(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainables.exported.saving.save_tensors", full)
    request = confirmation(folder, 4)
    result = confirmed(request)
    assert result["notes"] == "its network could not be kept as a model: OSError: [Errno 28] No space left on device"
    assert json.loads(Path(request.test_file).read_text())["test_score"] >= 0
    assert list((folder.path / "models" / "00").iterdir()) == []


# --- which of them stands for a study


def trial(number: int, phase: str, depth: int, val_score: float, state: str = "completed") -> dict[str, Any]:
    config = {"backbone": NAME, "freeze_depth": depth, "seed": number}
    return {
        **dict.fromkeys(TRIALS.names),
        "study": f"digits:{NAME}",
        "number": number,
        "task": "digits",
        "backbone": NAME,
        "phase": phase,
        "state": state,
        "seed": number,
        "freeze_depth": depth,
        "tune_stop": 7,
        "num_blocks": 7,
        "freeze_frac": depth / 7,
        "learning_rate": 1e-3,
        "head_learning_rate": 1e-2,
        "weight_decay": 0.0,
        "layer_decay": 1.0,
        "head_init": "random",
        "stay_near": 0.0,
        "batch_size": 8,
        "max_epochs": 2,
        "train_frac": 1.0,
        "config": json.dumps(config),
        "epochs": 2,
        "metric": "accuracy",
        "val_score": val_score,
        "num_val": 20,
        "duration_s": 1.0,
        "train_s": 1.0,
    }


@pytest.fixture
def ended(folder: SweepFolder) -> SweepFolder:
    """Depth 1 was confirmed by 2 and 3, then better trials chose depth 5, confirmed by 5, 6 and 7; 8 has failed."""
    folder.write_facts({"studies": [{"study": f"digits:{NAME}"}]})
    searched = [trial(0, "random", 1, 0.5), trial(1, "random", 5, 0.4), trial(4, "tpe", 5, 0.9)]
    before = [trial(number, "confirmation", 1, 0.5) for number in (2, 3)]
    after = [trial(number, "confirmation", 5, 0.8) for number in (5, 6, 7)]
    lost = [trial(8, "confirmation", 5, 0.8, state="failed")]
    folder.trials.append_all(searched + before + after + lost)
    folder.tests.append_all(
        [
            {
                **dict.fromkeys(TESTS.names),
                "study": f"digits:{NAME}",
                "number": number,
                "metric": "accuracy",
                "test_score": 0.5 + number / 100,
                "test_loss": 0.5,
                "chance": 0.1,
                "num_test": 400,
            }
            for number in (0, 1, 4, 2, 3, 5, 6, 7)
        ]
    )
    for number, val_score in ((3, 0.99), (5, 0.7), (6, 0.8), (7, 0.8), (8, 0.95)):
        make_model(folder.model_folder(0, number), backbone=NAME, val_score=val_score, origin={"number": number})
    return folder


def test_the_best_of_the_confirmations_that_count_stands(ended: SweepFolder) -> None:
    [model] = kept_models(ended).values()
    assert model.number == 6, "of equals the first; not 3, which confirmed what was chosen before, nor 8, which failed"
    remove_superseded_models(ended)
    assert [path.name for path in (ended.path / "models" / "00").iterdir()] == ["00006"]
    [model] = kept_models(ended).values()
    assert model.number == 6


def test_the_card_tells_what_counts(ended: SweepFolder) -> None:
    ranking = {"task": "digits", "backbone": NAME, "score": 0.7, "ci_low": 0.6, "ci_high": 0.75, "rank_low": 1}
    row = {**dict.fromkeys(RANKING.names), **ranking, "rank_high": 2, "status": "ranked"}
    required = {field.name: 0 for field in RANKING if not field.nullable and row[field.name] is None}
    [info] = model_infos(ended, pa.Table.from_pylist([row | required], RANKING)).values()
    assert "| test accuracy of this network | 0.8000 (95 %: 0.7580 to 0.8363" in info.card
    assert "0.5600 ± 0.0100 (standard deviation over 3 seeds)" in info.card
    assert "| adaptability score of the backbone | 70.0 (95 %: 60.0 to 75.0; chance 0, perfect 100) |" in info.card
    assert "The first 2 of 7 blocks are as pretrained" in info.card
    assert "ant, bee, cat" in info.card
