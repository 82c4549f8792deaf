"""Ray: does it start here, or can the cluster be joined, and is there room for a trial?"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orchestrator.doctor.finding import Finding, broken, ok, warning
from orchestrator.doctor.places import unmade
from orchestrator.doctor.subject import Subject
from orchestrator.errors import EnvironmentUnusable, UsageError

if TYPE_CHECKING:
    from orchestrator.config import Resources

__all__ = ["ray_starts"]

_FOLDER: Final = "RAY_TMPDIR"


def ray_starts(subject: Subject) -> Iterator[Finding]:
    """Start a Ray of one's own, or join the cluster, and have it run something."""
    from orchestrator.cluster.connection import connect

    fix = _fix(subject.address)
    begin = time.perf_counter()
    try:
        with _own_folder(subject.address), connect(subject.address, insecure=subject.insecure):
            seconds = time.perf_counter() - begin
            yield from _at_work(subject.address, seconds, fix)
            if subject.sweep is not None:
                yield _room(subject.sweep.resources)
            if subject.address is not None:
                yield from _nodes(subject)
    except (EnvironmentUnusable, UsageError) as error:
        yield broken("ray", str(error), fix)


@contextmanager
def _own_folder(address: str | None) -> Iterator[None]:
    """A folder for the logs and sockets of a Ray of one's own, which go with it."""
    if address is not None:
        yield
        return
    before = os.environ.get(_FOLDER)
    # Its paths may hold 107 characters: the name is short.
    made = tempfile.mkdtemp(prefix="d", dir=before or "/tmp")
    os.environ[_FOLDER] = made
    try:
        yield
    finally:
        os.environ.pop(_FOLDER) if before is None else os.environ.update({_FOLDER: before})
        shutil.rmtree(made, ignore_errors=True)


def _at_work(address: str | None, seconds: float, fix: str) -> Iterator[Finding]:
    import ray

    begin = time.perf_counter()
    pid = ray.get(ray.remote(num_cpus=0)(_pid).remote())
    worked = time.perf_counter() - begin
    there = ray.cluster_resources()
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    held = f"{nodes} node{'s' if nodes != 1 else ''}, {there.get('CPU', 0):g} CPU, {there.get('GPU', 0):g} GPU"
    how = "starts" if address is None else f"{address} joined"
    if pid == os.getpid():
        yield broken("ray", "no worker process was started", fix)
    else:
        yield ok("ray", f"{ray.__version__} {how} in {seconds:.1f} s, a worker in {worked:.1f} s: {held}")


def _room(resources: Resources) -> Finding:
    from orchestrator.cluster.connection import slots

    try:
        return ok("room", f"{slots(resources)} trials at a time")
    except EnvironmentUnusable as error:
        return broken("room", str(error), "lower what a trial takes, or use a larger machine")


def _nodes(subject: Subject) -> Iterator[Finding]:
    """Whether every node has our versions, sees the storage, and has what the sweep names."""
    from orchestrator.cluster.connection import need
    from orchestrator.cluster.preflight import check_nodes
    from orchestrator.stores import storage_folder

    # Where no sweep is asked about, nodes are not asked for the weights and data of one.
    config = subject.sweep or replace(subject.config, backbones=(), tasks=())
    notes: list[str] = []
    try:
        folder = storage_folder(config)
        with unmade(folder):
            folder.mkdir(parents=True, exist_ok=True)
            check_nodes(config, folder, need(config.resources), notes.append)
    except (EnvironmentUnusable, UsageError, OSError) as error:
        for line in str(error).splitlines():
            detail, _, fix = line.partition("; ")
            if fix or not line.endswith(":"):
                yield broken("nodes", detail, fix or "look at it with: ray status")
        return
    for note in notes:
        yield warning("nodes", note, "set the clock, e.g. with chrony")
    yield ok("nodes", f"every one has these versions and sees {folder}")


def _pid() -> int:
    return os.getpid()


def _fix(address: str | None) -> str:
    if address is None:
        return "set RAY_TMPDIR to a short path with room, and see memory and open files here"
    return "see --address, RAY_ADDRESS and ~/.ray/auth_token; on the head node: ray status"
