"""A cluster of two nodes on this machine, in a process of its own: what a lost node is tried on.

``python -m benchmarks.chaos.nodes`` prints one JSON line, with the cluster's address and its raylets, and keeps the
cluster up until its stdin is closed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Nodes", "main", "two_nodes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """Of a cluster that is up."""

    address: str
    raylets: tuple[int, ...]
    """Process ids; the head's comes first."""


@contextmanager
def two_nodes(environment: Mapping[str, str]) -> Iterator[Nodes]:
    """A head and a worker node of one CPU each, for as long as this lasts.

    Args:
        environment: all of it; Ray's settings among them.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(environment),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        found = json.loads(process.stdout.readline())
        yield Nodes(address=found["address"], raylets=tuple(found["raylets"]))
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    """See the module."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes = [cluster.head_node, cluster.add_node(num_cpus=1)]
        cluster.wait_for_nodes()
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
