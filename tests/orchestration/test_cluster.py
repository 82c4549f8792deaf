"""How many trials fit, and what is said when none does."""

from __future__ import annotations

import pytest

from orchestrator.cluster import connection as cluster
from orchestrator.cluster.capacity import Need, fit
from orchestrator.config import Resources
from orchestrator.errors import EnvironmentUnusable


@pytest.mark.parametrize(
    ("gpus", "per_trial", "num"),
    [  # measured with Ray: a fraction never spans two GPUs
        (2, 0.4, 4),
        (2, 0.6, 2),
        (2, 1 / 3, 6),
        (2, 0.3333, 6),
        (2, 0.5, 4),
        (2, 1, 2),
        (3, 2, 1),
        (4, 2, 2),
        (1, 2, 0),
        (0, 0.5, 0),
        (8, 0.1, 80),
        (1, 0.99, 1),
    ],
)
def test_trials_per_gpu(gpus: float, per_trial: float, num: int) -> None:
    assert fit(1000, gpus, Need(cpus=1, gpus=per_trial)) == num


@pytest.mark.parametrize(
    ("cpus", "per_trial", "num"), [(2, 1, 2), (8, 3, 2), (1, 2, 0), (7.5, 2, 3), (0, 1, 0), (16, 16, 1)]
)
def test_trials_per_cpu(cpus: float, per_trial: int, num: int) -> None:
    assert fit(cpus, 0, Need(cpus=per_trial, gpus=0)) == num


def test_the_scarcer_resource_decides() -> None:
    assert fit(3, 8, Need(cpus=1, gpus=0.5)) == 3
    assert fit(64, 2, Need(cpus=4, gpus=1)) == 2


def _nodes(monkeypatch: pytest.MonkeyPatch, *resources: dict[str, float], alive: bool = True) -> None:
    import ray

    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": alive, "Resources": one} for one in resources])
    total = {"GPU": sum(one.get("GPU", 0) for one in resources)}
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)


def test_slots_are_counted_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    _nodes(monkeypatch, {"CPU": 3.0}, {"CPU": 3.0}, {})
    assert cluster.slots(Resources(cpus_per_trial=2, gpus_per_trial=0)) == 2, "not 6 // 2"
    assert cluster.slots(Resources(cpus_per_trial=1, gpus_per_trial=0, max_concurrent=4)) == 4
    assert cluster.slots(Resources(cpus_per_trial=1, gpus_per_trial=0, max_concurrent=40)) == 6


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _nodes(monkeypatch, {"CPU": 8.0}, {"CPU": 8.0, "GPU": 2.0})
    assert cluster.trial_gpus(Resources()) == 1.0
    assert cluster.slots(Resources()) == 2
    _nodes(monkeypatch, {"CPU": 8.0})
    assert cluster.trial_gpus(Resources()) == 0.0
    assert cluster.slots(Resources()) == 8


def test_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    _nodes(monkeypatch, {"CPU": 4.0}, {"CPU": 2.0})
    with pytest.raises(EnvironmentUnusable, match=r"8 CPU and 0 GPU: the largest has 4 CPU and 0 GPU") as caught:
        cluster.slots(Resources(cpus_per_trial=8, gpus_per_trial=0))
    assert caught.value.exit_code == 4
    with pytest.raises(EnvironmentUnusable, match="1 CPU and 2 GPU"):
        cluster.slots(Resources(gpus_per_trial=2.0))
    _nodes(monkeypatch, {"CPU": 4.0}, alive=False)
    with pytest.raises(EnvironmentUnusable, match="the largest has 0 CPU and 0 GPU"):
        cluster.slots(Resources(gpus_per_trial=0))
