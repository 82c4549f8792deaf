"""A storage folder with two sweeps in it, without Ray: made-up results through the real recorder."""

from __future__ import annotations

from pathlib import Path

import pytest
from twin import NUM_BLOCKS, Twin, small_config

from orchestrator.config import resolved_yaml
from orchestrator.folder import write_whole
from orchestrator.provenance import new_facts, study_facts
from orchestrator.request import RunRequest
from orchestrator.sweep import StudyFacts


def outcome(request: RunRequest, epoch: int) -> float | str:
    """The pretrained backbone is better; of each study's trials one is stopped and one diverges."""
    fate = {4: "stop", 5: "diverge"}.get(request.number) if request.phase == "tpe" else None
    if fate:
        return fate
    better = 0.3 if request.config.backbone.endswith("@pypi") else 0.0
    return 0.4 + better + 0.01 * request.number + 0.001 * epoch


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``<storage>``; the newest sweep is finished, an older one has no run yet."""
    storage = tmp_path_factory.mktemp("cli") / "sweeps"
    for num_runs in (0, 10_000):
        name = "begun" if num_runs == 0 else "finished"
        config = small_config(name=name, storage=str(storage), budget__trials=6, budget__random_trials=3)
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
    return storage
