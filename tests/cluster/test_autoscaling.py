"""A cluster without a GPU that starts GPU nodes for a sweep and ends them after it. The GPUs are made up.

Run with ``ORCHESTRATOR_TEST_CLUSTER=1 python -m pytest tests/cluster``. Ray's processes live in a process namespace
of their own, as its fake nodes are ended by name.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hosts import SHARED, Hosts, missing_tools

from orchestrator.folder import list_sweeps

ROOT = Path(__file__).resolve().parents[2]
MAX_NODES = 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("ORCHESTRATOR_TEST_CLUSTER"), reason="ORCHESTRATOR_TEST_CLUSTER is not set"),
    pytest.mark.skipif(
        find_spec("aiohttp_cors") is None, reason="ray[default] is not installed: pip install '.[cluster]'"
    ),
    pytest.mark.skipif(bool(missing_tools()), reason=missing_tools()),
]

FAKE = {
    "cluster_name": "fake",
    "max_workers": MAX_NODES,
    "idle_timeout_minutes": 0.5,
    "provider": {"type": "fake_multinode", "head_node_id": "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"},
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "gpu_worker": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "max_workers": MAX_NODES},
    },
    "head_node_type": "head",
    "upscaling_speed": 10,
    "auth": {},
    "docker": {},
    "file_mounts": {},
    **{f"{kind}_commands": [] for kind in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{kind}_start_ray_commands": [] for kind in ("head", "worker")},
    "cluster_synced_files": [],
}
BASHRC = f"""
export PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH={ROOT} PYTHONDONTWRITEBYTECODE=1
export ORCHESTRATOR_CACHE=$HOME/cache OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token NO_COLOR=1
export RAY_AUTH_TOKEN={"a1" * 32} AUTOSCALER_UPDATE_INTERVAL_S=1 RAY_FAKE_CLUSTER=1
export RAY_enable_autoscaler_v2=0 RAY_raylet_start_wait_time_s=120
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Hosts]:
    folder = Path(tempfile.mkdtemp(prefix="a", dir="/tmp"))
    hosts = Hosts(folder, BASHRC)
    try:
        (hosts.shared / "fake.yaml").write_text(yaml.safe_dump(FAKE))
        start = f"ray start --head --num-cpus=0 --num-gpus=0 --autoscaling-config={SHARED}/fake.yaml"
        run(hosts, f"{start} --include-dashboard=false --disable-usage-stats")
        yield hosts
    finally:
        hosts.close()
        shutil.rmtree(folder, ignore_errors=True)


def run(hosts: Hosts, command: str, *, check: bool = True) -> tuple[int, str]:
    done = hosts.run(f". ~/.bashrc; cd {SHARED}; {command} 2>&1", check=check, timeout_s=900)
    return done.returncode, done.stdout


def num_nodes(hosts: Hosts) -> int:
    _, said = run(hosts, "ray status")
    active = said.partition("Active:")[2].partition("Pending:")[0]
    return sum(int(line.split()[0]) for line in active.splitlines() if "gpu_worker" in line)


def sweep(name: str, gpus: float) -> str:
    settings = {
        "name": name,
        "tasks.0.num_train": 200,
        "tasks.0.num_test": 100,
        "backbones": ["timm/test_resnet@random"],
        "budget.trials": 6,
        "budget.random_trials": 6,
        "budget.max_epochs": 2,
        "confirmation.seeds": 2,
        "evaluation": None,
        "screen": False,
        "resources.gpus_per_trial": gpus,
    }
    options = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in settings.items())
    return (
        f"python -m orchestrator sweep {options.replace('=None', '=null').replace('=False', '=false')} --address auto"
    )


def test_what_no_node_can_ever_hold_is_refused_in_seconds(machine: Hosts) -> None:
    assert num_nodes(machine) == 0
    begin = time.monotonic()
    code, said = run(machine, sweep("large", 2), check=False)
    assert code == 4, said
    text = " ".join(said.split())
    assert (
        "no node can hold a trial of 1 CPU and 2 GPU: "
        "the largest that could be started (gpu_worker) has 1 CPU and 1 GPU" in text
    )
    assert time.monotonic() - begin < 60
    assert num_nodes(machine) == 0, "and none was started"


def test_nodes_come_for_a_sweep_and_go_after_it(machine: Hosts) -> None:
    assert num_nodes(machine) == 0
    code, said = run(machine, sweep("grown", 1), check=False)
    assert code == 0, said
    assert "waiting for the cluster to start a node for 1 CPU and" in said
    assert "going on with" in said
    [folder] = list_sweeps(machine.shared / "sweeps")
    rows = folder.trials.read().to_pylist()
    assert len(rows) == 8
    assert {row["state"] for row in rows} == {"completed"}
    deadline = time.monotonic() + 120
    while num_nodes(machine) > 0:
        assert time.monotonic() < deadline, run(machine, "ray status")
        time.sleep(1)
