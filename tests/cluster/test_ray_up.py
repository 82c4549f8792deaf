"""`ray up` of cluster-local.yaml on two hosts, sweeps on them, and what becomes of a sweep whose hosts fail.

Minutes long: run with ``ORCHESTRATOR_TEST_CLUSTER=1 python -m pytest tests/cluster``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosts import SHARED, Hosts, missing_tools

from orchestrator.folder import SweepFolder, list_sweeps

ROOT = Path(__file__).resolve().parents[2]
HEAD, WORKER = "10.200.0.2", "10.200.0.3"
TOKEN = "0f" * 32
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("ORCHESTRATOR_TEST_CLUSTER"), reason="ORCHESTRATOR_TEST_CLUSTER is not set"),
    pytest.mark.skipif(
        find_spec("aiohttp_cors") is None, reason="ray[default] is not installed: pip install '.[cluster]'"
    ),
    pytest.mark.skipif(bool(missing_tools()), reason=missing_tools()),
]

BASHRC = f"""
export PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH={ROOT} PYTHONDONTWRITEBYTECODE=1
export ORCHESTRATOR_CACHE=$HOME/cache OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token NO_COLOR=1
export RAY_raylet_start_wait_time_s=120  # of busy machines
test -f ~/more && . ~/more
"""

NUM_EPOCHS = 80
LONG: dict[str, Any] = {
    # No linear probes: those are trained together and keep no checkpoints.
    "space": {"base": "default", "freeze_depth": {"choice": [0, 1, 2]}},
    "budget": {"trials": 6, "random_trials": 6, "max_epochs": NUM_EPOCHS, "grace_epochs": NUM_EPOCHS},
}


class Cluster:
    """Two hosts that `ray up` was run for."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.file = hosts.home("laptop") / "cluster.yaml"
        self.storage = hosts.shared / "sweeps"

    def laptop(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.hosts.run(f". ~/.bashrc; cd {ROOT}; {command}", check=check, timeout_s=600)

    def execute(self, command: str, *, check: bool = True) -> str:
        """Run a command on the head as a user does; both of its streams."""
        quoted = shlex.quote(f"cd {SHARED}; {command}")
        return self.laptop(f"ray exec {self.file} {quoted} 2> /dev/null", check=check).stdout.replace("\r", "")

    def num_nodes(self) -> int:
        status = self.execute("ray status").partition("Pending:")[0]
        return sum(int(line.split()[0]) for line in status.splitlines() if line.strip().endswith("local.cluster.node"))

    def await_nodes(self, num: int, timeout_s: float = 240) -> None:
        deadline = time.monotonic() + timeout_s
        while self.num_nodes() != num:
            logs = "ray status; cd /tmp/ray/session_latest/logs; tail -n 60 monitor.out monitor.log"
            assert time.monotonic() < deadline, self.hosts.run(f"ssh {HEAD} '. ~/.bashrc; {logs}'", check=False).stdout
            time.sleep(2)

    def lose_worker(self) -> None:
        """Cut its power, and wait until the head has noticed: else what comes back would pass for what was there."""
        self.hosts.kill("h2")
        self.await_nodes(1)

    def write_sweep(self, name: str, **changes: Any) -> None:
        sweep: dict[str, Any] = {
            "name": name,
            "tasks": [{"name": "digits", "image_size": 32, "num_train": 200, "num_test": 100}],
            "backbones": ["timm/test_resnet@random"],
            "budget": {"trials": 6, "random_trials": 6, "max_epochs": 2},
            "confirmation": {"seeds": 2},
            "evaluation": None,
            "screen": False,
        }
        (self.hosts.shared / f"{name}.yaml").write_text(yaml.safe_dump(sweep | changes))

    def sweep(self, name: str) -> SweepFolder:
        [found] = [folder for folder in list_sweeps(self.storage) if folder.sweep_id.startswith(f"{name}-")]
        return found

    def start(self, name: str) -> subprocess.Popen[str]:
        """Begin a sweep, and wait until more runs have completed an epoch than one host has CPUs."""
        command = f"cd {SHARED}; python -m orchestrator sweep {name}.yaml --address auto"
        process = self.hosts.start(f". ~/.bashrc; ray exec {self.file} {shlex.quote(command)}")
        deadline = time.monotonic() + 400
        while True:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, list(self.storage.rglob("*"))
            begun = {file.parent for file in self.storage.glob(f"{name}-*/runs/*/*.safetensors")}
            if len(begun) > 2:
                return process
            time.sleep(0.2)


def check_stopped(hosts: Hosts) -> None:
    """A worker whose head is gone ends its Ray after a minute, when it has given up on it."""
    deadline = time.monotonic() + 180
    for host in (HEAD, WORKER):
        command = f"ssh {host} \"ps -e -o args= | grep -E 'gcs_server|raylet' | grep -v grep\""
        while left := hosts.run(command, check=False).stdout:
            assert time.monotonic() < deadline, left
            time.sleep(2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """cluster-local.yaml with these hosts' addresses; they have the packages, so nothing is installed."""
    folder = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
    hosts = Hosts(folder, BASHRC)
    try:
        hosts.add("h1", HEAD)
        hosts.add("h2", WORKER)
        token = hosts.home("laptop") / ".ray" / "auth_token"
        token.parent.mkdir()
        token.write_text(TOKEN)
        token.chmod(0o600)
        up = Cluster(hosts)
        described = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())
        described["provider"] |= {"head_ip": HEAD, "worker_ips": [WORKER]}
        described["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
        described["setup_commands"] = [c for c in described["setup_commands"] if "venv" not in c]
        text = yaml.safe_dump(described, width=1000)
        assert text.count("ray start --") == 2
        up.file.write_text(text.replace("ray start --", "ray start --num-cpus=2 --"))
        assert "is valid: 2 machines" in up.laptop(f"python -m orchestrator validate {up.file}").stdout
        up.laptop(f"ray up -y --no-config-cache {up.file}")
        up.await_nodes(2)
        yield up
        up.laptop(f"ray down -y {up.file}")
        check_stopped(hosts)
    finally:
        hosts.close()
        shutil.rmtree(folder, ignore_errors=True)


def unwrapped(text: str) -> str:
    """As it was before a terminal broke its lines."""
    return " ".join(text.split())


def check_epochs(folder: SweepFolder, max_epochs: int) -> list[dict[str, Any]]:
    """Every run completed every epoch, each recorded once."""
    rows: list[dict[str, Any]] = folder.trials.read().to_pylist()
    assert {row["state"] for row in rows} == {"completed"}, [row["error"] for row in rows]
    found = [(row["number"], row["epoch"]) for row in folder.epochs.read().to_pylist()]
    assert sorted(found) == [(row, epoch) for row in range(len(rows)) for epoch in range(1, max_epochs + 1)]
    return rows


def test_only_who_has_the_token_gets_in(cluster: Cluster) -> None:
    for host in (HEAD, WORKER):
        assert cluster.hosts.run(f"ssh {host} 'stat -c %a ~/.ray/auth_token'").stdout.strip() == "600"
    from_outside = cluster.hosts.run(f"curl -s -m 5 http://{HEAD}:8265/api/version", check=False)
    assert from_outside.returncode == 7, "the dashboard is on the loopback"
    post = "curl -s -o /dev/null -w %{http_code} -X POST -d '{}' http://127.0.0.1:8265/api/jobs/"
    assert cluster.hosts.run(f"ssh {HEAD} {shlex.quote(post)}").stdout == "401"
    sweep = f"python -m orchestrator sweep --address {HEAD}:6379"
    cluster.write_sweep("stranger")
    without = cluster.laptop(f"cd {SHARED}; HOME=/nowhere {sweep} stranger.yaml", check=False)
    assert without.returncode == 4
    assert f"{HEAD}:6379 (--address {HEAD}:6379) asks for a token, and there is none here" in without.stderr
    other = cluster.laptop(f"cd {SHARED}; RAY_AUTH_TOKEN={'1' * 64} {sweep} stranger.yaml", check=False)
    assert other.returncode == 4
    assert "asks for another token than the one in RAY_AUTH_TOKEN" in other.stderr
    assert not list_sweeps(cluster.storage), "nothing was begun"


def test_a_sweep_by_ray_exec_uses_both_hosts(cluster: Cluster) -> None:
    cluster.write_sweep("exec", budget={"trials": 12, "random_trials": 12, "max_epochs": 10, "grace_epochs": 10})
    said = unwrapped(cluster.execute("python -m orchestrator sweep exec.yaml --address auto"))
    assert f"on the Ray cluster at {HEAD}:6379 (--address auto): 2 nodes" in said
    rows = check_epochs(cluster.sweep("exec"), 10)
    assert {row["node"] for row in rows} == {"h1", "h2"}


def test_a_sweep_by_ray_job_submit(cluster: Cluster) -> None:
    cluster.write_sweep("job")
    tunnel = f"ssh -f -N -o ExitOnForwardFailure=yes -L 8265:127.0.0.1:8265 {HEAD}"
    entry = f"bash -c 'cd {SHARED}; python -m orchestrator sweep job.yaml'"
    done = cluster.laptop(f"{tunnel}; ray job submit --address http://127.0.0.1:8265 -- {entry} 2>&1")
    assert "succeeded" in done.stdout
    assert f"on the Ray cluster at {HEAD}:6379 (RAY_ADDRESS={HEAD}:6379): 2 nodes" in unwrapped(done.stdout)
    check_epochs(cluster.sweep("job"), 2)


def test_a_host_dies_mid_sweep_and_comes_back(cluster: Cluster) -> None:
    cluster.write_sweep("killed", **LONG)
    sweep = cluster.start("killed")
    cluster.hosts.kill("h2")
    time.sleep(5)
    cluster.hosts.add("h2", WORKER)
    out, _ = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, out
    rows = check_epochs(cluster.sweep("killed"), NUM_EPOCHS)
    attempts = cluster.sweep("killed").attempts.read().to_pylist()
    again = {row["number"] for row in attempts if row["attempt"] > 1}
    assert again, "those that were on the host"
    assert {row["num_attempts"] for row in rows if row["number"] not in again} == {1}
    cluster.await_nodes(2)


def test_the_network_is_cut_mid_sweep(cluster: Cluster) -> None:
    """The host lives on and trains on; what it writes counts no more once another attempt was made."""
    cluster.write_sweep("cut", **LONG)
    sweep = cluster.start("cut")
    cluster.hosts.cut("h2")
    out = ""
    try:
        out, _ = sweep.communicate(timeout=600)
    finally:
        cluster.hosts.cut("h2", back=True)
    assert sweep.returncode == 0, out
    check_epochs(cluster.sweep("cut"), NUM_EPOCHS)
    assert any(row["attempt"] > 1 for row in cluster.sweep("cut").attempts.read().to_pylist())
    cluster.await_nodes(2)


def test_a_host_that_is_not_fit_is_named(cluster: Cluster) -> None:
    """Its own folder in the place of the shared one, another torch, and no data."""
    cluster.lose_worker()
    other = cluster.hosts.home("h2") / "other"
    (other / "torch-9.9.9.dist-info").mkdir(parents=True)
    (other / "torch-9.9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    more = cluster.hosts.home("h2") / "more"
    more.write_text(f"export PYTHONPATH={other}:$PYTHONPATH\n")
    cluster.hosts.add("h2", WORKER, shares=False)
    cluster.await_nodes(2)
    cluster.write_sweep("unfit")
    said = unwrapped(cluster.execute("python -m orchestrator sweep unfit.yaml --address auto; echo exit $?"))
    assert "every node that trials run on must be fit for them" in said
    assert f"node {WORKER} (h2): has torch 9.9.9 for " in said
    assert f"node {WORKER} (h2): the storage {SHARED}/sweeps/unfit-" in said
    assert f"node {HEAD}" not in said, "which is"
    assert "exit 4" in said
    assert not [sweep for sweep in list_sweeps(cluster.storage) if sweep.sweep_id.startswith("unfit")]
    more.unlink()


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")
def test_clocks_that_differ_are_told_and_do_no_harm(cluster: Cluster) -> None:
    cluster.lose_worker()
    (cluster.hosts.home("h2") / "more").write_text(f"export LD_PRELOAD={FAKETIME} FAKETIME=+1h\n")
    cluster.hosts.add("h2", WORKER)
    cluster.await_nodes(2)
    cluster.write_sweep("skewed", **LONG)
    said = unwrapped(cluster.execute("python -m orchestrator sweep skewed.yaml --address auto"))
    assert f"node {WORKER} (h2): its clock is 3600 s ahead" in said
    rows = check_epochs(cluster.sweep("skewed"), NUM_EPOCHS)
    assert {row["node"] for row in rows} == {"h1", "h2"}
    assert all(0 < row["duration_s"] < 600 for row in rows)
