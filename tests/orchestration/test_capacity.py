"""Trials at a time follow a cluster as it grows and shrinks; what is waited for is said once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from orchestrator.cluster import capacity as module
from orchestrator.cluster.capacity import Growth, Need, NodeType, Patience, Slots, autoscaling_file
from orchestrator.cluster.connection import connect, trial_gpus
from orchestrator.cluster.use import Use
from orchestrator.config import Resources
from orchestrator.errors import EnvironmentUnusable
from orchestrator.watcher import Watcher

ONE = Need(cpus=1, gpus=0)
GPU_NODES = Growth(types=(NodeType(name="gpu", max_nodes=2, cpus=4, gpus=1),), max_nodes=2)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        patch.setattr(module.time, "monotonic", lambda: self.now)


class Nodes:
    """A made-up cluster: CPUs of its nodes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.cpus: list[float] = []
        self.grown = Growth()
        patch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": num}} for num in self.cpus])
        patch.setattr(ray, "cluster_resources", dict)
        for name in ("orchestrator.cluster.capacity.growth", "orchestrator.cluster.connection.growth"):
            patch.setattr(name, lambda: self.grown)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(monkeypatch)


def test_slots_follow_the_nodes(clock: Clock, nodes: Nodes) -> None:
    slots, few = Slots(Resources(), ONE), Slots(Resources(max_concurrent=3), ONE)
    for cpus, all_, some in (([2.0], 2, 2), ([2.0, 4.0], 6, 3), ([4.0], 4, 3), ([], 1, 1)):
        nodes.cpus = cpus
        clock.now += 10
        assert (slots(), few()) == (all_, some)
    nodes.cpus = [8.0]
    assert slots() == 1, "it looks now and then, not at every step"
    nodes.cpus, nodes.grown = [], GPU_NODES
    clock.now += 10
    assert slots() == 8, "what waits makes nodes start"


def test_a_watcher_learns_of_slots_and_of_what_is_held(
    clock: Clock, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Ear(Watcher):
        def slots(self, num: int) -> None:
            told.append(num)

        def held(self, resources: Any, *, num_nodes: int) -> None:
            told.append((resources, num_nodes))

    nodes.cpus = [2.0, 4.0]
    clock.now += 10
    assert Slots(Resources(), ONE, Ear().slots)() == 6
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 6.0, "memory": 1e9})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 1.0})
    Use(Ear()).look()
    assert told == [6, ({"CPU": (5.0, 6.0)}, 2)]


def test_a_gpu_that_is_off_is_a_gpu(nodes: Nodes) -> None:
    assert trial_gpus(Resources()) == 0
    nodes.grown = GPU_NODES
    assert trial_gpus(Resources()) == 1


def test_what_is_waited_for_is_said_once(clock: Clock, nodes: Nodes) -> None:
    said: list[str] = []
    patience = Patience(Need(cpus=2, gpus=0), said.append)
    for waiting, cpus, expected in (
        (True, [1.0], 0),
        (True, [1.0], 1),
        (True, [1.0], 1),
        (False, [1.0, 2.0], 2),
        (False, [1.0, 2.0], 2),
        (True, [1.0, 2.0], 2),
        (True, [1.0, 2.0], 2),
    ):
        clock.now += 5
        nodes.cpus = cpus
        patience.look(waiting=waiting)
        assert len(said) == expected, said
    assert said[0] == "waiting for the cluster to start a node for 2 CPU and 0 GPU; `ray status` on its head says more"
    assert said[1] == "going on with 2 nodes"


def test_the_autoscalers_file_is_found_by_its_process(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({"max_workers": 3}))

    def process(pid: int, *words: str) -> None:
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "cmdline").write_bytes("\0".join(words).encode() + b"\0")

    process(1, "python", "monitor.py", "--gcs-address=10.0.0.1:6379", "--monitor-ip=10.0.0.1")
    process(2, "python", "monitor.py", "--gcs-address=10.0.0.9:6379", f"--autoscaling-config={file}")
    assert autoscaling_file("10.0.0.1:6379", tmp_path / "proc") == {}
    assert autoscaling_file("10.0.0.9:6379", tmp_path / "proc") == {"max_workers": 3}


def test_what_an_autoscaler_may_start_is_read_from_its_file() -> None:
    file: dict[str, Any] = {
        "max_workers": 5,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 8}},
            "gpu": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 8},
            "unknown": {"resources": {}},
        },
    }
    grown = module._growth_of(file)
    assert grown == Growth(types=(NodeType(name="gpu", max_nodes=5, cpus=4, gpus=1),), max_nodes=5)
    assert module._growth_of({}) == Growth()


def test_a_folder_too_long_for_sockets(tmp_path: Path) -> None:
    """In a process of its own: Ray settles its folder once."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    code = "from orchestrator.cluster.connection import connect\nwith connect(None): pass"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"RAY_TMPDIR": str(long), "HOME": str(tmp_path), "PATH": ""},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "EnvironmentUnusable: cannot start a local Ray" in done.stderr
    assert "set it to a shorter folder, e.g. RAY_TMPDIR=/tmp" in done.stderr
    assert not list(long.glob("ray/*/logs/gcs_server*")), "nothing was started"


def test_an_address_where_nobody_listens_is_told_before_ray_waits_for_it() -> None:
    with pytest.raises(EnvironmentUnusable, match="cannot be reached"), connect("127.0.0.1:1"):
        pass
