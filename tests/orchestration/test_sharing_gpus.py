"""Trials share simulated GPUs by what they were measured to take."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from sharing import SharingWorker, broken_study, measure_some
from twin import made_up_facts, small_config

from orchestrator.cluster.connection import measure_demands, slots
from orchestrator.errors import EnvironmentUnusable
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import plan
from orchestrator.recorder import Recorder
from orchestrator.sweep import run_studies

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """Two GPUs that Ray believes in."""
    import ray

    from orchestrator.cluster.connection import _ENVIRONMENT

    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        try:
            ray.init(num_cpus=8, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["started"] < b["ended"] and b["started"] < a["ended"]


def test_small_ones_share_a_gpu_and_a_big_one_has_its_own(tmp_path: Path) -> None:
    config = small_config(budget={"trials": 4, "random_trials": 4, "max_epochs": 1}, confirmation__seeds=1)
    planned = plan(config)
    demands = measure_demands(config, planned, [18, 18], measure_some)
    small, big = (study.key for study in planned.studies)
    assert demands[small].smallest_share == 1 / 4
    assert demands[big].smallest_share == 1

    num_slots = slots(config.resources, demands[small].smallest_share)
    assert num_slots == 8
    folder = SweepFolder.create(tmp_path, config.name, "")
    run_studies(
        config,
        planned,
        folder,
        made_up_facts(planned),
        num_slots=num_slots,
        recorder=Recorder(folder, []),
        worker=SharingWorker,
        demands=demands,
    )
    rows = [json.loads(file.read_text()) for file in (folder.path / "runs").glob("*.seen")]
    assert len(rows) == 10
    assert {(row["study"], row["gpus"]) for row in rows} == {(small, 0.25), (big, 1.0)}

    # Never more than a GPU has, and the small ones really run at once.
    for device in {tuple(row["device"]) for row in rows}:
        here = [row for row in rows if tuple(row["device"]) == device]
        moments = [row["started"] for row in here]
        assert max(sum(r["gpus"] for r in here if r["started"] <= t < r["ended"]) for t in moments) <= 1
    at_once = [
        sum(r["started"] <= row["started"] < r["ended"] for r in rows if r["device"] == row["device"]) for row in rows
    ]
    assert max(at_once) >= 2
    for a, b in combinations(rows, 2):
        if a["gpus"] == 1 and a["device"] == b["device"]:
            assert not overlap(a, b), "a big one waits for a whole GPU, and nobody else is on it"

    # A process serves one share only, and several trials of it.
    shares = {row["pid"]: {r["gpus"] for r in rows if r["pid"] == row["pid"]} for row in rows}
    assert all(len(found) == 1 for found in shares.values())
    assert len(shares) < len(rows)


def test_what_cannot_be_run_is_told_before_any_trial() -> None:
    config = small_config()
    with pytest.raises(EnvironmentUnusable, match=r"execution.compile needs a C\+\+ compiler"):
        measure_demands(config, plan(config), [18, 18], broken_study)
