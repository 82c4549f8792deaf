"""Every node of a cluster is asked before a sweep: two raylets on this machine, one of which has another torch."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twin import small_config

from orchestrator.cluster.capacity import Growth, Need, NodeType, capacity, largest
from orchestrator.cluster.connection import connect, need, slots
from orchestrator.cluster.node_facts import Question, look_around
from orchestrator.cluster.preflight import Newcomers, check_nodes, compare
from orchestrator.config import Resources
from orchestrator.errors import EnvironmentUnusable

OTHER_TORCH = "9.9.9"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """The head and, where `add` is called, a node with another torch. Sockets want a short path."""
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="n", dir="/tmp"))
    made = folder / "other" / f"torch-{OTHER_TORCH}.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {OTHER_TORCH}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
        made_cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "include_dashboard": False, "temp_dir": str(folder / "ray")},
        )
        try:
            yield made_cluster
        finally:
            made_cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_node_with_another_torch_is_named(cluster: Any, tmp_path: Path) -> None:
    config = small_config(backbones=["timm/test_resnet@random"], resources={"max_concurrent": "auto"})
    said: list[str] = []
    wanted = need(config.resources, 0)
    with connect(cluster.address, insecure=True, say=said.append):
        assert said == [f"on the Ray cluster at {cluster.address} (--address {cluster.address}): 1 node, 2 CPU"]
        check_nodes(config, tmp_path, wanted, said.append)
        assert slots(Resources(cpus_per_trial=1)) == 2
        newcomers = Newcomers(config, tmp_path, wanted, said.append)
        newcomers._looked = float("-inf")
        newcomers.look()

        other = Path(cluster.head_node.get_temp_dir_path()).parent / "other"
        cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": f"{other}:{Path(__file__).resolve().parents[2]}"})
        assert slots(Resources(cpus_per_trial=1)) == 3
        with pytest.raises(EnvironmentUnusable) as caught:
            check_nodes(config, tmp_path, wanted, said.append)
        [_, problem] = str(caught.value).splitlines()
        assert f"has torch {OTHER_TORCH} for " in problem
        assert "install what constraints.txt names" in problem

        assert len(said) == 1, "of the node that was up nothing is said"
        newcomers._looked = float("-inf")
        newcomers.look()
        deadline = time.monotonic() + 60
        while len(said) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "not fit for trials: node " in said[1]
        assert OTHER_TORCH in said[1]
        check_nodes(config, tmp_path, Need(cpus=2, gpus=0), said.append)  # no trial of two CPUs goes to the other node
    assert list(tmp_path.iterdir()) == [], "no file is left in the storage"


QUESTION = Question(distributions=("torch",), storage="/mnt/shared/s", nonce=".seen-1", data=("/data",), backbones=())
FIT = {
    "host": "h2",
    "versions": {"torch": "2.14.1", "python": "3.11.7", "code": "abc"},
    "storage": "",
    "missing": [],
    "unobtainable": {},
    "time": 0.0,
}


@pytest.mark.parametrize(
    ("change", "written", "said"),
    [
        ({}, True, []),
        ({"error": "did not answer"}, True, ["did not answer"]),
        (
            {},
            False,
            ["what it writes to the storage /mnt/shared/s is not seen here; put it on a file system that every"],
        ),
        (
            {"storage": "is not there (x)"},
            False,
            ["the storage /mnt/shared/s is not there (x); put it on a file system"],
        ),
        ({"missing": ["/data"]}, True, ["/data is not there; copy it there"]),
        ({"unobtainable": {"timm/a": "not on this machine"}}, True, ["the weights of timm/a: not on this machine"]),
        (
            {"versions": {"torch": "not installed", "python": "3.12.1", "code": "not installed"}},
            True,
            ["has torch not installed for 2.14.1, python 3.12.1 for 3.11.7; install"],
        ),
        (
            {"versions": {**FIT["versions"], "code": "def"}},  # type: ignore[dict-item]
            True,
            ["has other code of this project (def, and the driver has abc)"],
        ),
        (
            {"versions": {**FIT["versions"], "code": "not installed"}},  # type: ignore[dict-item]
            True,
            ["has other code of this project (not installed, and the driver has abc)"],
        ),
    ],
)
def test_what_is_said_of_a_node(change: dict[str, Any], written: bool, said: list[str]) -> None:
    found = compare(FIT | change, FIT, QUESTION, written=written)
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_a_node_sees_the_storage_or_says_what_it_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cluster.node_facts._SEEN_WITHIN_S", 0.0)
    question = Question(
        distributions=("torch", "no-such-package"),
        storage=str(tmp_path),
        nonce=".seen-1",
        data=(str(tmp_path), "/no/such/data"),
        backbones=("timm/test_resnet@random",),
    )
    found = look_around(question, "n1")
    assert found["storage"].startswith("is there, without what the driver wrote")
    assert found["missing"] == ["/no/such/data"]
    assert found["unobtainable"] == {}
    assert found["versions"]["no-such-package"] == "not installed"
    (tmp_path / ".seen-1").write_text("something else")
    assert "something else" in look_around(question, "n1")["storage"]
    (tmp_path / ".seen-1").write_text(".seen-1")
    assert look_around(question, "n1")["storage"] == ""
    assert (tmp_path / ".seen-1.n1").read_text() == ".seen-1"
    assert len(found["versions"]["code"]) == 12


NODES = [
    {"Alive": True, "Resources": {"node:__internal_head__": 1.0}},
    {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]
GPU_NODE = NodeType(name="gpu", max_nodes=8, cpus=4, gpus=1)


def test_what_an_autoscaler_would_start_counts() -> None:
    one = Need(cpus=1, gpus=1)
    assert capacity(NODES, Growth(), one) == 1
    assert capacity(NODES[:1], Growth(), one) == 0
    assert capacity(NODES[:1], Growth(types=(GPU_NODE,), max_nodes=8), one) == 8
    assert capacity(NODES[:1], Growth(types=(GPU_NODE,), max_nodes=3), one) == 3, "of all types together"
    assert capacity(NODES, Growth(types=(GPU_NODE,), max_nodes=8), Need(cpus=1, gpus=0.25)) == 32
    assert capacity(NODES, Growth(types=(GPU_NODE,), max_nodes=8), Need(cpus=1, gpus=2)) == 0
    big = NodeType(name="big", max_nodes=1, cpus=64, gpus=8)
    assert capacity(NODES[:1], Growth(types=(GPU_NODE, big), max_nodes=2), one) == 9, "the largest first"
    assert largest(NODES[:2], Growth(types=(GPU_NODE, big), max_nodes=2)) == (
        "that could be started (big) has 64 CPU and 8 GPU"
    )
