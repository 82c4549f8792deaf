"""A storage folder with two sweeps in it, without Ray: made-up results through the real recorder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from twin import NUM_BLOCKS, Twin, small_config

from orchestrator.cli import main
from orchestrator.config import resolved_yaml
from orchestrator.evaluated import EvaluationFiles
from orchestrator.folder import write_whole
from orchestrator.provenance import new_facts, study_facts
from orchestrator.sweep import StudyFacts
from orchestrator.workers.request import RunRequest

Run = Callable[..., tuple[int, str, str]]


def outcome(request: RunRequest, epoch: int) -> float | str:
    """The pretrained backbone is better; of each study's trials one is stopped and one diverges."""
    fate = {4: "stop", 5: "diverge"}.get(request.number) if request.phase == "tpe" else None
    if fate:
        return fate
    if request.evaluation is not None and epoch == request.config.max_epochs:
        leave_evaluation(request)
    better = 0.3 if request.config.backbone.endswith("@pypi") else 0.0
    return 0.4 + better + 0.01 * request.number + 0.001 * epoch


def leave_evaluation(request: RunRequest) -> None:
    """What a worker leaves of a confirmation, by hand: without torch."""
    files = EvaluationFiles.of(request.test_file)
    measures = [("ece", "", 0.25), ("ece", "temperature_scaled", 0.125), ("auroc", "", None), ("num", "class:a", 4.0)]
    rows = [{"name": n, "split": "test", "condition": c, "value": v} for n, c, v in measures]
    summary = {"class_names": ["a", "b"], "confusion": [[4, 0], [1, 3]], "notes": ["no meter"], "failures": []}
    files.pictures.mkdir(parents=True)
    files.summary.parent.mkdir(exist_ok=True)
    Image.new("L", (1, 1)).save(files.pictures / "saliency.png")
    (files.pictures / "captions.json").write_text(json.dumps({"saliency": "where it looked"}))
    files.summary.write_text(json.dumps(summary))
    files.measures.write_text(json.dumps(rows))


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``<storage>``; the newest sweep is finished, an older one has no run yet."""
    storage = tmp_path_factory.mktemp("cli") / "sweeps"
    for num_runs in (0, 10_000):
        name = "begun" if num_runs == 0 else "finished"
        config = small_config(name=name, storage=str(storage), budget__trials=6, budget__random_trials=3, evaluation={})
        twin = Twin(config, storage)
        write_whole(twin.folder.config_file, resolved_yaml(config, redacted=True))
        facts = new_facts(config, twin.plan, "auto")
        studies = [
            StudyFacts(
                study=study.key,
                num_blocks=NUM_BLOCKS,
                num_train=120,
                num_val=60,
                num_test=8,
                kind="classification",
                modality="image",
                num_classes=10,
                num_outputs=10,
                metric="accuracy",
                chance=0.1,
                digest="0" * 64,
                input="32 px",
            )
            for study in twin.studies
        ]
        twin.folder.write_facts({**facts, "studies": study_facts(studies)})
        twin.run(outcome, most=num_runs)
        scores = [
            ("@pypi", "log_me", 0.9),
            ("@pypi", "num_params", 7.0),
            ("@random", "log_me", 0.1),
            ("@random", "num_params", 7.0),
        ]
        twin.folder.screen.append_all(
            [
                {"task": "digits", "backbone": f"timm/tf_efficientnet_lite0{weights}", "name": name, "value": value}
                for weights, name, value in scores
            ]
        )
    return storage


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def run_json(run: Run) -> Callable[..., Any]:
    """Runs a command with ``--json``, which must succeed and print one document and nothing else."""

    def run_json(*arguments: str) -> Any:
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return run_json
