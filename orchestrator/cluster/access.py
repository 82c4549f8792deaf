"""Who may join which Ray: tokens, and what is asked of a cluster before it is joined.

Whoever reaches a Ray cluster without a token runs what they like on every node, as its user. So the Ray of one machine
and every cluster that is joined want a token; a cluster on the network that wants none is joined when asked to only.
"""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from orchestrator.cluster.probe import PATIENCE_S
from orchestrator.errors import EnvironmentUnusable, UsageError, one_line

__all__ = ["ClusterAddress", "admit", "ensure_token", "has_token", "resolve", "token_file"]

_CONNECT_S: Final = 5.0
_PROBE_S: Final = 120.0
"""For the probe, which first has to load Ray."""

_DEFAULT_PORT: Final = 6379
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+)(:(?P<port>[0-9]{1,5}))?")
_TOKEN_HOW: Final = (
    "copy ~/.ray/auth_token of the head node to the same place here and `chmod 600` it, "
    "or name its place in RAY_AUTH_TOKEN_PATH"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterAddress:
    """Where a cluster's head listens."""

    host: str
    port: int
    origin: str
    """What named it, as a user says it: ``--address auto``, or ``RAY_ADDRESS=10.0.0.1:6379``."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine gets there."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def token_file() -> Path:
    """Where Ray looks for the token, unless ``RAY_AUTH_TOKEN`` holds it."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def has_token() -> bool:
    """Whether this user has a token to show."""
    try:
        return bool(os.environ.get("RAY_AUTH_TOKEN") or token_file().read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return False


def ensure_token() -> None:
    """Make a token where there is none, and let nobody but this user read it: Ray makes it readable to all.

    Raises:
        EnvironmentUnusable: it cannot be written.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    file = token_file()
    try:
        if not has_token():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = file.with_name(f".{file.name}.{os.getpid()}")
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as new:
                new.write(secrets.token_hex(32))
            os.replace(temporary, file)
        elif file.stat().st_mode & 0o077 and file.stat().st_uid == os.geteuid():
            file.chmod(0o600)
    except OSError as error:
        raise EnvironmentUnusable(
            f"the token that guards Ray must be in {file}, which cannot be written: {error.strerror}; "
            "name another file in RAY_AUTH_TOKEN_PATH"
        ) from error


def resolve(address: str) -> ClusterAddress:
    """The head that `address` means; ``auto`` is the cluster that this machine is a node of.

    Raises:
        UsageError: it is not an address of a head node.
        EnvironmentUnusable: this machine is a node of no cluster, or of several.
    """
    origin = f"RAY_ADDRESS={address}" if os.environ.get("RAY_ADDRESS") == address else f"--address {address}"
    if "://" in address:
        raise UsageError(
            f"a Ray address must be auto or HOST:PORT of the head node, got {one_line(origin)}; for a cluster "
            "elsewhere run the command on its head: ray exec cluster.yaml '...', or ray job submit -- ..."
        )
    found = _own_cluster() if address == "auto" else address
    parts = _ADDRESS.fullmatch(found)
    if parts is None or not 0 < int(parts["port"] or _DEFAULT_PORT) < 65536:
        raise UsageError(f"a Ray address must be auto or HOST:PORT of the head node, got {one_line(origin)}")
    return ClusterAddress(host=parts["host"].strip("[]"), port=int(parts["port"] or _DEFAULT_PORT), origin=origin)


def _own_cluster() -> str:
    from ray._private.services import canonicalize_bootstrap_address_or_die

    hidden = os.environ.pop("RAY_ADDRESS", None)  # it would win over what this machine knows, be it "auto" itself
    try:
        return str(canonicalize_bootstrap_address_or_die("auto"))
    except ConnectionError as error:
        raise EnvironmentUnusable(
            f"this machine must be a node of one Ray cluster for --address auto: {one_line(str(error))}; start one "
            "with `ray up cluster.yaml`, name it with --address HOST:PORT, or leave --address out"
        ) from error
    finally:
        if hidden is not None:
            os.environ["RAY_ADDRESS"] = hidden


def admit(address: ClusterAddress, *, insecure: bool) -> bool:
    """Find out within seconds whether the cluster can and may be joined.

    Args:
        insecure: join a cluster that others reach and that asks for no token.

    Returns:
        Whether the cluster asks for a token.

    Raises:
        UsageError: it asks for none, others reach it, and nobody said that this is well.
        EnvironmentUnusable: it does not answer, takes no token of ours, or has another version of Ray or Python.
    """
    where = f"the Ray cluster at {address} ({one_line(address.origin)})"
    _knock(address, where)
    with ThreadPoolExecutor(max_workers=2) as pool:
        stranger, friend = pool.map(lambda mode: _ask(address, mode), ("disabled", "token"))
    asks = "refused" in stranger
    if asks and not has_token():
        raise EnvironmentUnusable(f"{where} asks for a token, and there is none here: {_TOKEN_HOW}")
    if asks and "refused" in friend:
        source = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(token_file())
        raise EnvironmentUnusable(f"{where} asks for another token than the one in {source}: {_TOKEN_HOW}")
    answer = friend if asks else stranger
    if "error" in answer:
        raise EnvironmentUnusable(
            f"{where} must be the head of a Ray cluster, and what listens there does not answer as one: "
            f"{one_line(answer['error'])}; its port is {_DEFAULT_PORT} unless `ray start --port` says otherwise"
        )
    if not asks and not (insecure or address.is_loopback):
        raise UsageError(
            f"{where} asks for no token: whoever reaches it can run code on it, and on whatever joins it. Start its "
            "nodes with RAY_AUTH_MODE=token (cluster.yaml does), or join it all the same with --insecure"
        )
    _check_versions(answer, where)
    return asks


def _knock(address: ClusterAddress, where: str) -> None:
    try:
        socket.create_connection((address.host, address.port), timeout=_CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentUnusable(
            f"{where} cannot be reached: {reason}; start it (`ray up cluster.yaml`), check the address, or leave "
            "--address and RAY_ADDRESS out to run on this machine"
        ) from error


def _ask(address: ClusterAddress, mode: str) -> dict[str, Any]:
    """What the head says to somebody who shows our token, or to a stranger."""
    if mode == "token" and not has_token():
        return {"refused": True}
    env = {name: value for name, value in os.environ.items() if mode == "token" or name != "RAY_AUTH_TOKEN"}
    command = [sys.executable, "-m", "orchestrator.cluster.probe", str(address)]
    try:
        done = subprocess.run(
            command, env=env | {"RAY_AUTH_MODE": mode}, capture_output=True, text=True, timeout=_PROBE_S
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_PROBE_S:g} s"}
    if done.returncode == -signal.SIGALRM:
        return {"error": f"no answer within {PATIENCE_S} s"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        return {"error": (done.stderr.strip().splitlines() or ["no answer"])[-1]}
    return answer


def _check_versions(answer: Mapping[str, Any], where: str) -> None:
    """Ray takes a driver of exactly its own versions."""
    ours = {"ray": version("ray"), "python": platform.python_version()}
    if any(answer[name] != mine for name, mine in ours.items()):
        raise EnvironmentUnusable(
            f"{where} runs Ray {answer['ray']} on Python {answer['python']}, and this is Ray {ours['ray']} on Python "
            f"{ours['python']}: they must be the same; pip install 'ray=={answer['ray']}' in a Python "
            f"{answer['python']}, or run the command on the cluster's head with `ray exec`"
        )
