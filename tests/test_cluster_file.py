"""The shipped cluster files are ones that Ray and AWS accept and open nothing; what is wrong with others is told."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.cluster.config_file import check_cluster_file, is_cluster_file
from orchestrator.errors import ConfigError

ROOT = Path(__file__).parent.parent
AWS, LOCAL, SERVICE = ROOT / "cluster.yaml", ROOT / "cluster-local.yaml", ROOT / "mlflow.service"

Cluster = dict[str, Any]
Write = Callable[[Cluster], Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user with a token and a key, in a checkout."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".ray/auth_token", ".ssh/id_ed25519"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("secret")
        file.chmod(0o600)
    monkeypatch.chdir(ROOT)
    return tmp_path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(cluster: Cluster) -> Path:
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump(cluster, sort_keys=False))
        return file

    return write


def load(file: Path) -> Cluster:
    loaded: Cluster = yaml.safe_load(file.read_text(encoding="utf-8"))
    return loaded


def problems(file: Path) -> dict[str, str]:
    """Messages by key."""
    with pytest.raises(ConfigError) as caught:
        check_cluster_file(file)
    assert caught.value.exit_code == 2
    return {problem.key: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize("file", [AWS, LOCAL], ids=lambda file: file.name)
def test_ray_accepts_what_is_shipped(file: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(load(file)))


def test_validate_knows_a_cluster_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(AWS)]) == 0
    assert main(["validate", str(LOCAL)]) == 0
    said = capsys.readouterr().out
    assert "cluster.yaml is valid: aws, head, up to 8 gpu_worker" in said
    assert "cluster-local.yaml is valid: 2 machines of your own" in said
    assert not is_cluster_file(ROOT / "search_spaces" / "sweeps" / "quickstart.yaml")


@pytest.mark.parametrize("file", [AWS, LOCAL], ids=lambda file: file.name)
def test_what_is_shipped_opens_nothing_and_installs_what_is_pinned(file: Path) -> None:
    cluster = load(file)
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert all("0.0.0.0" not in str(value) for value in cluster.values())
    [install] = [command for command in cluster["setup_commands"] if "pip install" in command]
    assert "-c constraints.txt" in install
    assert any("/mnt/shared" in command for command in cluster["setup_commands"]), "one folder for all nodes"


def test_machines_are_in_a_group_of_the_users_own_and_cost_what_is_used() -> None:
    """Ray's own group lets the whole internet in at port 22, and has no room for another rule."""
    cluster = load(AWS)
    types = cluster["available_node_types"]
    assert all(one["node_config"]["SecurityGroupIds"] for one in types.values())
    assert "security_group" not in cluster["provider"]
    assert types["gpu_worker"]["min_workers"] == 0
    assert types["gpu_worker"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in types["head"]["node_config"], "the driver's machine is not taken away"
    assert types["head"]["resources"] == {"CPU": 0}


def test_mlflow_on_the_head_is_for_that_machine_alone() -> None:
    lines = dict(line.partition("=")[::2] for line in SERVICE.read_text().splitlines() if "=" in line)
    words = shlex.split(lines["ExecStart"])
    options = {word: value for word, value in pairwise(words) if word.startswith("--")}
    assert options["--host"] == "127.0.0.1"
    assert options["--backend-store-uri"].startswith("postgresql:///"), "by a socket, without a password"
    assert options["--artifacts-destination"].startswith("/mnt/shared/")
    assert options["--allowed-hosts"] == "127.0.0.1:5000,localhost:5000"
    assert "*" not in options["--cors-allowed-origins"]
    assert "--disable-security-middleware" not in words
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in lines["Environment"]
    assert lines["Restart"] == "always"
    assert any("mlflow.service" in command for command in load(AWS)["head_setup_commands"])


def test_every_mistake_is_told_at_once_with_its_line(write: Write, home: Path) -> None:
    cluster = load(AWS)
    cluster |= {"cluster_name": "bad name!", "max_workers": 2, "head_node_type": "haed"}
    cluster["auth"]["ssh_private_key"] = str(home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "id_ed25519").chmod(0o644)
    (home / ".ray" / "auth_token").chmod(0o644)
    cluster["file_mounts"]["/data"] = "/no/such/folder"
    cluster["available_node_types"]["gpu_worker"]["min_workers"] = 4
    del cluster["available_node_types"]["gpu_worker"]["resources"]
    del cluster["available_node_types"]["head"]["node_config"]["SecurityGroupIds"]
    cluster["head_start_ray_commands"] = ["ray start --head --dashboard-host=0.0.0.0"]
    del cluster["worker_start_ray_commands"]
    file = write(cluster)
    found = problems(file)
    expected = {
        "cluster_name": "must be a name of letters, digits, - and _",
        "head_node_type": "got 'haed'; did you mean 'head'?",
        "max_workers": "must be at least the sum of all min_workers, 4, got 2",
        "auth.ssh_private_key": "must be readable by you alone, or ssh refuses it, got mode 0644; chmod 600 ",
        "file_mounts./home/ubuntu/.ray/auth_token": "must be readable by you alone, got mode 0644; chmod 600",
        "file_mounts./data": "must be a file or folder of this machine, got '/no/such/folder'",
        "available_node_types.gpu_worker": "must say what a node has; e.g. resources: {CPU: 4, GPU: 1}",
        "available_node_types.head.node_config": "or Ray makes one that opens SSH to the whole internet",
        "head_start_ray_commands.0": "must keep the dashboard on the loopback",
        "worker_start_ray_commands": "must start Ray",
    }
    assert {key: text in found.get(key, "") for key, text in expected.items()} == dict.fromkeys(expected, True)
    assert set(found) == set(expected)
    text = file.read_text().splitlines()
    with pytest.raises(ConfigError) as caught:
        check_cluster_file(file)
    where = {problem.key: problem.where for problem in caught.value.problems}
    line = next(n for n, content in enumerate(text, 1) if content.startswith("cluster_name"))
    assert where["cluster_name"] == f"{file}:{line}"


@pytest.mark.parametrize(
    ("change", "key", "text"),
    [
        ({"provider": None}, "provider", "must be one of aws, gcp"),
        ({"provider": {"type": "awss"}}, "provider.type", "got 'awss'; did you mean 'aws'?"),
        ({"max_worker": 3}, "", "Additional properties are not allowed ('max_worker' was unexpected)"),
        ({"max_workers": "four"}, "max_workers", "'four' is not of type 'integer'"),
        ({"file_mounts": {}}, "file_mounts", "must bring the token to every node"),
    ],
)
def test_what_ray_says_badly(write: Write, change: Cluster, key: str, text: str) -> None:
    found = problems(write(load(AWS) | change))
    assert text in found[key]
    assert len(found) == 1


def test_a_local_cluster_needs_the_older_autoscaler(write: Write) -> None:
    cluster = load(LOCAL)
    cluster["head_start_ray_commands"] = [
        command.replace("RAY_enable_autoscaler_v2=0 ", "") for command in cluster["head_start_ray_commands"]
    ]
    cluster["provider"]["worker_ips"].append(cluster["provider"]["head_ip"])
    found = problems(write(cluster))
    assert "RAY_enable_autoscaler_v2=0" in found["head_start_ray_commands.1"]
    assert "must not hold the head again" in found["provider.worker_ips"]
    assert len(found) == 2


@pytest.mark.skipif(find_spec("botocore") is None, reason="boto3 is not installed: pip install '.[cluster]'")
def test_aws_is_asked_for_nothing_that_it_does_not_know(write: Write) -> None:
    check_cluster_file(AWS)
    cluster = load(AWS)
    config = cluster["available_node_types"]["head"]["node_config"]
    config["InstanceTyp"] = config.pop("InstanceType")
    config["BlockDeviceMappings"][0]["Ebs"]["VolumeSiz"] = 3
    other = cluster["available_node_types"]["gpu_worker"]["node_config"]
    other |= {"InstanceType": "g5.xlrge", "SecurityGroupIds": "sg-1"}
    found = problems(write(cluster))
    head, worker = (f"available_node_types.{name}.node_config" for name in ("head", "gpu_worker"))
    assert found[f"{head}.InstanceTyp"] == "is no key that EC2 knows; did you mean 'InstanceType'?"
    assert found[f"{head}.BlockDeviceMappings.0.Ebs.VolumeSiz"].endswith("did you mean 'VolumeSize'?")
    assert "must say which machine to start" in found[head]
    assert found[f"{worker}.InstanceType"] == "is no machine that EC2 has, got 'g5.xlrge'; did you mean 'g5.xlarge'?"
    assert found[f"{worker}.SecurityGroupIds"] == "must be a list, got 'sg-1'"
    assert len(found) == 5


def test_a_list_that_yaml_does_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text('cluster_name: x\nprovider: {type: local}\nsetup_commands: [pip install "ray[default]"]\n')
    assert main(["validate", str(file)]) == 2
    said = capsys.readouterr().err
    assert "flow.yaml:3" in said
    assert "write one '- ' line per item" in said
    assert "Traceback" not in said
