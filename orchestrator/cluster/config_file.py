"""Cluster files for `ray up`: everything that is wrong with one, before a machine is paid for.

Ray's own validator is asked, and says one thing at a time. What it lets through is checked here: what the cloud would
refuse only later, what Ray would open to strangers, and what does not exist on this machine.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.cluster.node_config import node_config_problems
from orchestrator.config.yaml_source import Document, Keys, dotted, read_yaml
from orchestrator.errors import ConfigError, Problem, shown
from trainables.errors import did_you_mean

__all__ = ["check_cluster_file", "is_cluster_file", "summary"]

_OF_CLUSTERS: Final = ("provider", "available_node_types", "head_node_type", "cluster_name")
_OF_SWEEPS: Final = ("backbones", "tasks", "budget")
_PROVIDERS: Final = ("aws", "gcp", "azure", "local", "aliyun", "vsphere", "external", "fake_multinode")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_TOKEN: Final = "auth_token"
_TOKEN_COMMAND: Final = "(umask 077; mkdir -p ~/.ray; openssl rand -hex 32 > ~/.ray/auth_token)"

Found = Iterator[tuple[Keys, str, str, str]]
"""Keys, rule, value, hint."""


def is_cluster_file(path: str | Path) -> bool:
    """Whether the file describes a cluster rather than a sweep. One that cannot be read is neither."""
    try:
        value = read_yaml(Path(path)).value
    except ConfigError:
        return False
    return (
        isinstance(value, Mapping)
        and any(key in value for key in _OF_CLUSTERS)
        and not any(key in value for key in _OF_SWEEPS)
    )


def check_cluster_file(path: str | Path) -> Mapping[str, Any]:
    """Read a cluster file; local paths in it are looked up from the working directory, as `ray up` does.

    Raises:
        ConfigError: rules are broken; all of them are listed.
    """
    document = read_yaml(Path(path))
    cluster = document.value
    found: list[tuple[Keys, str, str, str]] = []
    if not isinstance(cluster, Mapping):
        found.append(((), "must be a mapping", shown(cluster), ""))
    else:
        for check in (_identity, _types, _commands, _files, _key, _local):
            found += check(cluster)
        found += [one for one in _by_ray(cluster) if not any(one[0][: len(keys)] == keys for keys, *_ in found)]
    problems = [*document.problems, *(_problem(document, *one) for one in found)]
    if problems:
        raise ConfigError(problems)
    return dict(cluster)


def summary(cluster: Mapping[str, Any]) -> str:
    """What a valid cluster is made of, in a few words."""
    if cluster["provider"]["type"] == "local":
        return f"{1 + len(cluster['provider'].get('worker_ips', ()))} machines of your own"
    types, head = cluster["available_node_types"], cluster["head_node_type"]
    most = cluster.get("max_workers", 2)
    others = (f"up to {min(one.get('max_workers', most), most)} {name}" for name, one in types.items() if name != head)
    return f"{cluster['provider']['type']}, {', '.join([head, *others])}"


def _problem(document: Document, keys: Keys, rule: str, value: str, hint: str) -> Problem:
    at = keys
    while at and at not in document.marks:
        at = at[:-1]
    where = document.marks.get(at, document.source)
    return Problem(where=where, key=dotted(keys), rule=rule, value=value, hint=hint)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _node_types(cluster: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: _mapping(one) for name, one in _mapping(cluster.get("available_node_types")).items()}


def _identity(cluster: Mapping[str, Any]) -> Found:
    name, provider = cluster.get("cluster_name"), cluster.get("provider")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "must be a name of letters, digits, - and _: clouds make names of machines and keys of it"
        yield ("cluster_name",), rule, shown(name), ""
    kind = _mapping(provider).get("type")
    if kind not in _PROVIDERS:
        keys: Keys = ("provider", "type") if isinstance(provider, Mapping) else ("provider",)
        yield keys, f"must be one of {', '.join(_PROVIDERS)}", shown(kind), did_you_mean(str(kind), _PROVIDERS)[2:]


def _types(cluster: Mapping[str, Any]) -> Found:
    types = _node_types(cluster)
    if not types:
        return
    head = cluster.get("head_node_type")
    if head not in types:
        hint = did_you_mean(str(head), list(types)).removeprefix("; ")
        yield ("head_node_type",), f"must be one of available_node_types: {', '.join(types)}", shown(head), hint
    aws = _mapping(cluster.get("provider")).get("type") == "aws"
    for name, one in types.items():
        keys: Keys = ("available_node_types", name)
        if not isinstance(one.get("resources"), Mapping):
            yield keys, "must say what a node has", "", "e.g. resources: {CPU: 4, GPU: 1}"
        config = _mapping(one.get("node_config"))
        if aws:
            yield from node_config_problems(config, (*keys, "node_config"))
        if aws and "SecurityGroupIds" not in config and "NetworkInterfaces" not in config:
            rule = "must name the security groups of its machines in SecurityGroupIds"
            yield (*keys, "node_config"), rule, "", "or Ray makes one that opens SSH to the whole internet"
    least = sum(one.get("min_workers", 0) for one in types.values() if isinstance(one.get("min_workers", 0), int))
    most = cluster.get("max_workers", 2)
    if isinstance(most, int) and least > most:
        yield ("max_workers",), f"must be at least the sum of all min_workers, {least}", shown(most), ""


def _commands(cluster: Mapping[str, Any]) -> Found:
    local = _mapping(cluster.get("provider")).get("type") == "local"
    for key, role in (("head_start_ray_commands", "head"), ("worker_start_ray_commands", "worker")):
        commands = cluster.get(key)
        if not isinstance(commands, list) or not any("ray start" in str(one) for one in commands):
            yield (key,), "must start Ray", "", "what Ray runs without it lets everybody in who reaches the machine"
            continue
        for index, command in enumerate(str(one) for one in commands):
            if "ray start" not in command:
                continue
            keys: Keys = (key, index)
            if "RAY_AUTH_MODE=token" not in command:
                yield keys, "must start Ray with RAY_AUTH_MODE=token", shown(command), "or whoever reaches it owns it"
            if role == "head" and not re.search(r"--dashboard-host[= ](127\.0\.0\.1|localhost)\b", command):
                hint = "`ray dashboard` reaches it through SSH"
                yield keys, "must keep the dashboard on the loopback: --dashboard-host=127.0.0.1", shown(command), hint
            if role == "head" and local and "RAY_enable_autoscaler_v2=0" not in command:
                rule = "must start Ray with RAY_enable_autoscaler_v2=0 where the provider is local"
                yield keys, rule, shown(command), "Ray's newer autoscaler never starts such workers (ray#57153)"


def _files(cluster: Mapping[str, Any]) -> Found:
    mounts = _mapping(cluster.get("file_mounts"))
    for there, here in mounts.items():
        file = Path(str(here)).expanduser()
        if not file.exists():
            hint = f"make one: {_TOKEN_COMMAND}" if file.name == _TOKEN else ""
            yield ("file_mounts", there), "must be a file or folder of this machine", shown(here), hint
        elif file.name == _TOKEN and file.stat().st_mode & 0o077:
            yield ("file_mounts", there), "must be readable by you alone", f"mode {_mode(file)}", f"chmod 600 {here}"
    if not any(str(there).endswith(_TOKEN) for there in mounts):
        yield ("file_mounts",), "must bring the token to every node", "", "~/.ray/auth_token: ~/.ray/auth_token"


def _key(cluster: Mapping[str, Any]) -> Found:
    key = _mapping(cluster.get("auth")).get("ssh_private_key")
    if key is None:
        return
    keys: Keys = ("auth", "ssh_private_key")
    file = Path(str(key)).expanduser()
    if not file.is_file():
        yield keys, "must be a file of this machine", shown(key), "ssh-keygen -t ed25519 makes one"
    elif file.stat().st_mode & 0o077:
        yield keys, "must be readable by you alone, or ssh refuses it", f"mode {_mode(file)}", f"chmod 600 {key}"


def _mode(file: Path) -> str:
    return f"{file.stat().st_mode & 0o777:04o}"


def _local(cluster: Mapping[str, Any]) -> Found:
    provider = _mapping(cluster.get("provider"))
    if provider.get("type") != "local" or "coordinator_address" in provider:
        return
    head, workers = provider.get("head_ip"), provider.get("worker_ips")
    if not isinstance(head, str):
        yield ("provider", "head_ip"), "must be the address of the head", shown(head), ""
    if not isinstance(workers, list):
        yield ("provider", "worker_ips"), "must be a list of addresses, of the other machines", shown(workers), ""
    elif head in workers:
        yield ("provider", "worker_ips"), "must not hold the head again", shown(head), ""


def _by_ray(cluster: Mapping[str, Any]) -> Found:
    """Everything that Ray's own schema and rules refuse."""
    import ray.autoscaler
    from jsonschema import Draft7Validator
    from ray.autoscaler._private.util import prepare_config, validate_config

    if not isinstance(cluster.get("provider"), Mapping) or cluster["provider"].get("type") not in _PROVIDERS:
        return
    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)  # it tells what it fills in
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    try:
        prepared = prepare_config(json.loads(json.dumps(cluster)))
        broken = list(Draft7Validator(schema).iter_errors(prepared))
        for error in broken:
            yield tuple(error.absolute_path), f"is refused by Ray: {error.message[:200]}", "", ""
        if not broken:
            validate_config(prepared)
    except Exception as error:  # Ray raises KeyError, ValueError, NotImplementedError and its own
        yield (), f"is refused by Ray: {type(error).__name__}: {error}", "", ""
