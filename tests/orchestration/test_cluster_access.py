"""Who may join which Ray, and what is said when it cannot be joined."""

from __future__ import annotations

import platform
import socket
import stat
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster import access as cluster_access
from orchestrator.cluster.access import ClusterAddress, admit, ensure_token, has_token, resolve, token_file
from orchestrator.errors import EnvironmentUnusable, UsageError

SAME = {"ray": version("ray"), "python": platform.python_version()}
REFUSED = {"refused": True}
REMOTE = ClusterAddress(host="10.1.2.3", port=6379, origin="--address 10.1.2.3:6379")
HERE = ClusterAddress(host="127.0.0.1", port=6379, origin="--address auto")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user without a token."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of somebody who takes calls and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def answers(monkeypatch: pytest.MonkeyPatch, stranger: dict[str, Any], friend: dict[str, Any]) -> None:
    monkeypatch.setattr(cluster_access, "_knock", lambda *_: None)
    monkeypatch.setattr(cluster_access, "_ask", lambda _, mode: {"disabled": stranger, "token": friend}[mode])


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_token_is_made_for_its_user_alone(home: Path) -> None:
    assert not has_token()
    ensure_token()
    token = token_file().read_text()
    assert token_file() == home / ".ray" / "auth_token"
    assert mode(token_file()) == 0o600
    assert len(token) == 64
    assert has_token()
    assert [file.name for file in token_file().parent.iterdir()] == ["auth_token"]
    ensure_token()
    assert token_file().read_text() == token, "and stays"


def test_a_token_that_others_can_read_is_closed(home: Path) -> None:
    (home / ".ray").mkdir()
    token_file().write_text("of Ray's own making")
    token_file().chmod(0o644)
    ensure_token()
    assert (mode(token_file()), token_file().read_text()) == (0o600, "of Ray's own making")


def test_a_token_may_be_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "mine" / "token"))
    ensure_token()
    assert mode(home / "mine" / "token") == 0o600
    monkeypatch.setenv("RAY_AUTH_TOKEN", "in the environment")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "nowhere"))
    ensure_token()
    assert has_token()
    assert not (home / "nowhere").exists()


def test_a_token_that_cannot_be_written(home: Path) -> None:
    (home / ".ray").write_text("a file")
    with pytest.raises(EnvironmentUnusable, match=r"auth_token, which cannot be written: .*; name another file in"):
        ensure_token()


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.0.1:6380", "10.0.0.1", 6380),
        ("10.0.0.1", "10.0.0.1", 6379),
        ("head.example", "head.example", 6379),
        ("[::1]:7000", "::1", 7000),
    ],
)
def test_addresses(address: str, host: str, port: int) -> None:
    found = resolve(address)
    assert (found.host, found.port, found.origin) == (host, port, f"--address {address}")


def test_an_address_from_the_environment_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert resolve("10.0.0.1:6379").origin == "RAY_ADDRESS=10.0.0.1:6379"


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "http://10.0.0.1:8265", "10.0.0.1:99999", ":6379"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=r"must be auto or HOST:PORT of the head node, got --address"):
        resolve(address)


@pytest.mark.parametrize(
    ("host", "own"), [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True)]
)
def test_loopback(host: str, own: bool) -> None:
    assert ClusterAddress(host=host, port=1, origin="").is_loopback is own
    assert not REMOTE.is_loopback
    assert not ClusterAddress(host="head", port=1, origin="").is_loopback


def test_a_cluster_that_asks_for_our_token_is_joined_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_token()
    answers(monkeypatch, REFUSED, SAME)
    assert admit(REMOTE, insecure=False) is True


def test_a_cluster_without_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, SAME, REFUSED)
    with pytest.raises(UsageError) as caught:
        admit(REMOTE, insecure=False)
    assert caught.value.exit_code == 2
    assert "10.1.2.3:6379 (--address 10.1.2.3:6379) asks for no token: whoever reaches it can run code" in str(
        caught.value
    )
    assert "RAY_AUTH_MODE=token" in str(caught.value)
    assert "--insecure" in str(caught.value)
    assert admit(REMOTE, insecure=True) is False, "no token is shown to it"
    assert admit(HERE, insecure=False) is False, "nobody else reaches it"


def test_a_token_that_is_missing_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, REFUSED, REFUSED)
    with pytest.raises(EnvironmentUnusable, match=r"asks for a token, and there is none here: copy ~/.ray/auth_token"):
        admit(REMOTE, insecure=False)
    with pytest.raises(EnvironmentUnusable, match="asks for a token"):
        admit(REMOTE, insecure=True)
    ensure_token()
    with pytest.raises(EnvironmentUnusable, match=r"another token than the one in /.*/.ray/auth_token: copy") as caught:
        admit(REMOTE, insecure=False)
    assert token_file().read_text() not in str(caught.value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    with pytest.raises(EnvironmentUnusable, match="another token than the one in RAY_AUTH_TOKEN") as caught:
        admit(REMOTE, insecure=False)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("other", [{"ray": "2.59.0"}, {"python": "3.12.1"}])
def test_other_versions_of_ray_and_python(monkeypatch: pytest.MonkeyPatch, other: dict[str, str]) -> None:
    ensure_token()
    theirs = SAME | other
    answers(monkeypatch, REFUSED, theirs)
    with pytest.raises(EnvironmentUnusable) as caught:
        admit(REMOTE, insecure=False)
    text = str(caught.value)
    assert f"runs Ray {theirs['ray']} on Python {theirs['python']}" in text
    assert f"this is Ray {SAME['ray']} on Python {SAME['python']}" in text
    assert f"pip install 'ray=={theirs['ray']}' in a Python {theirs['python']}" in text


def test_nobody_listens(listening: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    begin = time.perf_counter()
    with pytest.raises(
        EnvironmentUnusable, match=rf"127.0.0.1:{free} .* cannot be reached: Connection refused; start it"
    ):
        admit(resolve(f"127.0.0.1:{free}"), insecure=False)
    assert time.perf_counter() - begin < 5


def test_something_else_listens(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_access, "_PROBE_S", 0.2)
    with pytest.raises(
        EnvironmentUnusable, match=r"must be the head of a Ray cluster.*no answer within 0.2 s; its port"
    ):
        admit(resolve(f"127.0.0.1:{listening}"), insecure=False)
