"""How many trials a cluster holds: on the nodes that are up, and on those that its autoscaler would start.

An autoscaler starts nodes for what waits: a cluster without a single GPU may be one of eight GPU machines that are
off. What it may start is said nowhere but in the file its head was started with, so that is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator.config import Resources

__all__ = [
    "Growth",
    "Need",
    "NodeType",
    "Patience",
    "Slots",
    "autoscaling_file",
    "capacity",
    "fit",
    "growth",
    "largest",
]

HEAD: Final = "node:__internal_head__"
"""The resource that Ray gives to the head node alone."""

_LOOK_EVERY_S: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeType:
    """A kind of node that a cluster's autoscaler starts and ends."""

    name: str
    max_nodes: int
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """What an autoscaler can make of a cluster."""

    types: tuple[NodeType, ...] = ()
    """Empty where nobody starts nodes, or where it is not known how large they are."""

    max_nodes: int = 0
    """Of all types together, the head not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What one trial holds."""

    cpus: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.cpus} CPU and {self.gpus:g} GPU"


def fit(cpus: float, gpus: float, need: Need) -> int:
    """How many trials one node holds."""
    by_cpu = int(cpus // need.cpus)
    if need.gpus == 0:
        return by_cpu
    # A fraction never spans two GPUs: 0.4 fits twice on one, not two and a half times.
    by_gpu = int(gpus) * int(1 / need.gpus + 1e-9) if need.gpus < 1 else int(gpus // need.gpus)
    return min(by_cpu, by_gpu)


def autoscaling_file(gcs_address: str, processes: Path = Path("/proc")) -> dict[str, Any]:
    """The cluster file of the autoscaler that serves `gcs_address`, read on the head; empty where it has none."""
    for file in processes.glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended, or is another user's
            continue
        options = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
        if options.get("--gcs-address") == gcs_address and "--autoscaling-config" in options:
            loaded = yaml.safe_load(Path(options["--autoscaling-config"]).expanduser().read_text(encoding="utf-8"))
            return loaded if isinstance(loaded, dict) else {}
    return {}


def growth() -> Growth:
    """What the connected cluster can grow to."""
    import ray

    return _growth(ray.get_runtime_context().gcs_address) if ray.is_initialized() else Growth()


@cache
def _growth(gcs_address: str) -> Growth:
    import ray

    head = next((node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD in node["Resources"]), None)
    if head is None:
        return Growth()
    if head == ray.get_runtime_context().get_node_id():
        return _growth_of(autoscaling_file(gcs_address))
    there = ray.remote(num_cpus=0, resources={HEAD: 0.001})(autoscaling_file)
    return _growth_of(ray.get(there.remote(gcs_address)))


def _growth_of(file: Mapping[str, Any]) -> Growth:
    """Without the head, which is up, and without types that do not say what they have."""
    types: Mapping[str, Any] = file.get("available_node_types") or {}
    most = int(file.get("max_workers") or 0)
    return Growth(
        types=tuple(
            NodeType(
                name=name,
                max_nodes=min(int(one.get("max_workers", most)), most),
                cpus=float(one["resources"].get("CPU", 0)),
                gpus=float(one["resources"].get("GPU", 0)),
            )
            for name, one in types.items()
            if name != file.get("head_node_type") and one.get("resources")
        ),
        max_nodes=most,
    )


def capacity(nodes: Iterable[Mapping[str, Any]], grown: Growth, need: Need) -> int:
    """How many trials fit at a time, node by node, once every node is up that may be started.

    Args:
        nodes: as ``ray.nodes()`` gives them.
    """
    up = [node["Resources"] for node in nodes if node["Alive"]]
    now = [(fit(held.get("CPU", 0), held.get("GPU", 0), need), HEAD in held) for held in up]
    later, left = sum(num for num, is_head in now if is_head), grown.max_nodes
    for one in sorted(grown.types, key=lambda one: -fit(one.cpus, one.gpus, need)):
        started = min(one.max_nodes, left)
        later += started * fit(one.cpus, one.gpus, need)
        left -= started
    return max(sum(num for num, _ in now), later)


def largest(nodes: Iterable[Mapping[str, Any]], grown: Growth) -> str:
    """Reads on after ``the largest``: what the largest node has, be it up or not."""
    up = [(n["Resources"].get("GPU", 0.0), n["Resources"].get("CPU", 0.0), "has") for n in nodes if n["Alive"]]
    off = [(t.gpus, t.cpus, f"that could be started ({t.name}) has") for t in grown.types if t.max_nodes]
    gpus, cpus, which = max([*up, *off], default=(0.0, 0.0, "has"), key=lambda one: one[:2])
    return f"{which} {cpus:g} CPU and {gpus:g} GPU"


class Slots:
    """How many trials may run at a time, as nodes come and go: never fewer than one, which then waits for a node.

    Args:
        tell: is given that number whenever it has been counted anew.
    """

    def __init__(self, resources: Resources, need: Need, tell: Callable[[int], None] = lambda num: None) -> None:
        self._tell = tell
        self._most = resources.max_concurrent
        self._need = need
        self._looked = -_LOOK_EVERY_S
        self._now = 1

    def __call__(self) -> int:
        import ray

        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            self._looked = time.monotonic()
            fitting = max(1, capacity(ray.nodes(), growth(), self._need))
            self._now = fitting if self._most == "auto" else min(fitting, self._most)
            self._tell(self._now)
        return self._now


class Patience:
    """Says what is waited for, once, where trials or tasks stand still for want of a node.

    Args:
        say: is given sentences for the user.
    """

    def __init__(self, need: Need, say: Callable[[str], None]) -> None:
        self._need = need
        self._say = say
        self._since: float | None = None
        self._said = False

    def look(self, *, waiting: bool) -> None:
        """To be called again and again; `waiting` is whether nothing runs though something should."""
        import ray

        if not waiting:
            if self._said:
                self._say(f"going on with {sum(node['Alive'] for node in ray.nodes())} nodes")
            self._since, self._said = None, False
            return
        self._since = time.monotonic() if self._since is None else self._since
        # While a node has room, its workers are starting, or others' work holds it: no node is missing.
        if self._said or time.monotonic() - self._since < _LOOK_EVERY_S or capacity(ray.nodes(), Growth(), self._need):
            return
        self._said = True
        self._say(f"waiting for the cluster to start a node for {self._need}; `ray status` on its head says more")

    def get(self, references: Sequence[Any]) -> list[Any]:
        """``ray.get``, with a word where it takes long for want of a node."""
        import ray

        left = list(references)
        while left:
            done, left = ray.wait(left, num_returns=len(left), timeout=_LOOK_EVERY_S)
            self.look(waiting=bool(left) and not done)
        answers: list[Any] = ray.get(list(references))
        return answers
