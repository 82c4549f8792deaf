"""What is said of Ray and of a cluster's nodes, without one: the faults are put in Ray's place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.doctor import Subject, ray_start
from orchestrator.doctor.ray_start import ray_starts
from orchestrator.errors import EnvironmentUnusable


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Ray that starts, does what it is told and has one node; holds the folders it was started in."""
    folders: list[str] = []

    @contextmanager
    def connect(address: str | None, **options: Any) -> Iterator[None]:
        folders.append(os.environ.get("RAY_TMPDIR", ""))
        yield

    monkeypatch.setattr("orchestrator.cluster.connection.connect", connect)
    monkeypatch.setattr("orchestrator.cluster.connection.need", lambda resources: None)
    monkeypatch.setattr(ray_start, "_at_work", lambda *arguments: iter(()))
    return folders


def test_a_ray_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def connect(address: str | None, **options: Any) -> Iterator[None]:
        assert Path(os.environ["RAY_TMPDIR"]).parent == tmp_path
        raise EnvironmentUnusable("cannot start a local Ray: no room")
        yield

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("orchestrator.cluster.connection.connect", connect)
    [finding] = ray_starts(Subject())
    assert (finding.status, finding.detail) == ("broken", "cannot start a local Ray: no room")
    assert "RAY_TMPDIR" in finding.fix
    assert list(tmp_path.iterdir()) == []
    assert os.environ["RAY_TMPDIR"] == str(tmp_path)


def test_a_cluster_that_is_not_there() -> None:
    [finding] = ray_starts(Subject(address="127.0.0.1:1"))
    assert (finding.name, finding.status) == ("ray", "broken")
    assert "127.0.0.1:1" in finding.detail
    assert finding.fix


def test_a_worker_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = SimpleNamespace(
        get=lambda pid: pid,
        remote=lambda **options: lambda function: SimpleNamespace(remote=function),
        cluster_resources=dict,
        nodes=list,
    )
    monkeypatch.setitem(__import__("sys").modules, "ray", stub)
    [finding] = ray_start._at_work(None, 0.0, "do x")
    assert (finding.status, finding.detail, finding.fix) == ("broken", "no worker process was started", "do x")


def test_no_room_for_a_trial(joined: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def slots(resources: Any) -> int:
        raise EnvironmentUnusable("no node can hold a trial of 64 CPU and 0 GPU")

    monkeypatch.setattr("orchestrator.cluster.connection.slots", slots)
    [finding] = ray_starts(Subject(file="quickstart"))
    assert (finding.name, finding.status) == ("room", "broken")
    assert finding.fix
    [folder] = joined
    assert not Path(folder).exists()


def test_nodes_that_are_not_fit(joined: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Any, bool]] = []
    problems = ["node 10.0.0.2: /data is not there; copy it there", "node 10.0.0.3: did not answer"]

    def check(fail: bool) -> Callable[..., None]:
        def check_nodes(config: Any, storage: Path, wanted: Any, say: Callable[[str], None]) -> None:
            asked.append((config.backbones, storage.is_dir()))
            say("node 10.0.0.2: its clock is 60 s ahead")
            if fail:
                raise EnvironmentUnusable("every node must be fit:\n" + "\n".join(problems))

        return check_nodes

    subject = Subject(address="10.0.0.1:6379", overrides=(f"storage={tmp_path}/new",))
    monkeypatch.setattr("orchestrator.cluster.preflight.check_nodes", check(True))
    found = list(ray_starts(subject))
    assert [(f.name, f.status, f.detail, f.fix) for f in found] == [
        ("nodes", "broken", "node 10.0.0.2: /data is not there", "copy it there"),
        ("nodes", "broken", "node 10.0.0.3: did not answer", "look at it with: ray status"),
    ]
    assert asked == [((), True)]  # no sweep was named: its weights are nobody's business
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("orchestrator.cluster.preflight.check_nodes", check(False))
    assert [f.status for f in ray_starts(subject)] == ["warning", "ok"]
