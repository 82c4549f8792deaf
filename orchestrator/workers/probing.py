"""How a worker comes by what trains its run: a fine-tuner, or a place among probes that are trained together."""

from __future__ import annotations

from typing import Final, TypeAlias

from orchestrator.workers.request import RunRequest
from orchestrator.workers.warm import Warm
from trainables.backbones import Backbone
from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.finetune import Finetuner
from trainables.probes import ProbeGroup, ProbeRun, probe_capacity, probe_group

__all__ = ["Run", "make_run"]

Run: TypeAlias = Finetuner | ProbeRun

MAX_GROUP_BYTES: Final = 2**30
"""Of the groups that a worker keeps. One that is asked for again after it was dropped is trained again."""

MAX_CAPACITIES: Final = 1024

_groups: Warm[ProbeGroup] = Warm(lambda group: group.num_bytes, MAX_GROUP_BYTES)
_capacities: Warm[int] = Warm(lambda capacity: 1, MAX_CAPACITIES)


def make_run(request: RunRequest, pretrained: Backbone, task: Task) -> Run:
    """What trains the run of `request`, epoch by epoch.

    A probe with companions is trained with them, once in this process; whoever comes later reads its own.

    Raises:
        TrainableError: as `Finetuner`.
    """
    members = _members(request, pretrained, task)
    if len(members) < 2:
        return Finetuner(request.config, pretrained, task, execution=request.execution, num_runs=request.num_sharing)
    group = _groups.get(
        (request.task, members, request.execution),
        lambda: ProbeGroup(members, pretrained, task, execution=request.execution, num_runs=request.num_sharing),
    )
    return group.run(request.config)


def _members(request: RunRequest, pretrained: Backbone, task: Task) -> tuple[FinetuneConfig, ...]:
    """The companions that are trained together with this run: as many as memory has room for."""
    if not request.companions:
        return ()
    shared = request.task, probe_group(request.config), request.execution
    capacity = _capacities.get(shared, lambda: probe_capacity(request.config, pretrained, task, request.execution))
    if capacity == 0:
        return ()
    start = request.companions.index(request.config) // capacity * capacity
    return request.companions[start : start + capacity]
