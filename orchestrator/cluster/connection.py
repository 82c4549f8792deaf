"""Ray, as this program wants it: local unless told otherwise, quiet, and no more trials than fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from orchestrator.cluster.access import admit, ensure_token, resolve
from orchestrator.cluster.capacity import Need, capacity, growth, largest
from orchestrator.config import Resources, SweepConfig
from orchestrator.errors import EnvironmentUnusable, one_line
from orchestrator.planning.plan import Plan
from orchestrator.workers.packing import Demand, probed_configs
from trainables.config import FinetuneConfig

__all__ = ["connect", "measure_demands", "need", "screen_studies", "slots", "trial_gpus", "trial_resources"]

_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own console; the board is ours
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's next default; unset it warns at every start
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # what a worker raises is in its trial's record
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a path in a sweep file means the same in a worker
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a diverged epoch reports no score
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune turns Ctrl-C into a success
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # its snapshots are never restored
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    # A local Ray's workers inherit it. Tensors come and go with every batch: in large pages, where the kernel has them
    # for who asks, epochs on a CPU are up to a tenth shorter. Other C libraries do not read it.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@contextmanager
def connect(address: str | None, *, insecure: bool = False, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Start a local Ray, or join the cluster at `address`, and leave it in the end.

    Args:
        address: None starts a local one. A bare ``ray.init`` would join any cluster it finds.
        insecure: join a cluster that others reach and that asks for no token.
        say: is told which cluster is joined.

    Raises:
        EnvironmentUnusable: Ray does not start, or there is no cluster at that address that we may join.
        UsageError: the cluster asks for no token, or `address` is none.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is None:
        ensure_token()
        joined, mode = "local", "token"
    else:
        cluster = resolve(address)
        joined, mode = str(cluster), "token" if admit(cluster, insecure=insecure) else "disabled"
    import ray
    from ray._raylet import Config  # type: ignore[attr-defined]  # compiled

    os.environ["RAY_AUTH_MODE"] = mode
    Config.initialize("")  # Ray read the mode when it was imported, which may be long ago
    try:
        ray.init(
            address=joined,
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # Ray raises plain ones, too, as where a machine is too busy for its daemons to start
        where = "start a local Ray" if address is None else f"join the Ray cluster at {joined}"
        raise EnvironmentUnusable(f"cannot {where}: {error}{_socket_hint(error)}") from error
    try:
        if address is not None and say is not None:
            say(f"on the Ray cluster at {joined} ({cluster.origin}): {_inventory()}")
        yield
    finally:
        ray.shutdown()


def _socket_hint(error: Exception) -> str:
    if "AF_UNIX path length" not in str(error):
        return ""
    return "; Ray keeps its sockets below RAY_TMPDIR: set it to a shorter folder, e.g. RAY_TMPDIR=/tmp"


def _inventory() -> str:
    """``3 nodes, 12 CPU, 2 GPU``."""
    import ray

    num_nodes = sum(node["Alive"] for node in ray.nodes())
    held = ray.cluster_resources()
    gpus = f", {held['GPU']:g} GPU" if held.get("GPU") else ""
    return f"{num_nodes} node{'s' if num_nodes != 1 else ''}, {held.get('CPU', 0):g} CPU{gpus}"


def trial_gpus(resources: Resources) -> float:
    """GPUs of one trial: ``auto`` is one, or less where `orchestrator.workers.packing` says so, where there are any."""
    import ray

    if resources.gpus_per_trial != "auto":
        return float(resources.gpus_per_trial)
    could_have = any(one.gpus and one.max_nodes for one in growth().types)
    return 1.0 if could_have or ray.cluster_resources().get("GPU", 0) > 0 else 0.0


def measure_demands(
    config: SweepConfig, plan: Plan, num_blocks: Sequence[int], measure: Callable[..., dict[str, Any]] | None = None
) -> dict[str, Demand]:
    """How much of a GPU the runs of each study take, by its key; empty where GPUs are not shared by memory.

    Each study is measured by a task that has a GPU for itself, on whichever node is free.

    Args:
        num_blocks: of each study's backbone, in the plan's order.
        measure: None is `orchestrator.workers.inspection.measure_study`.

    Raises:
        EnvironmentUnusable: a study cannot be run at all.
    """
    if config.resources.gpus_per_trial != "auto" or trial_gpus(config.resources) == 0:
        return {}
    import ray

    if measure is None:
        from orchestrator.workers.inspection import measure_study as measure

    cpus = config.resources.cpus_per_trial
    task = ray.remote(num_cpus=cpus, num_gpus=1)(measure)
    probed = [probed_configs(config, s.backbone.name, num) for s, num in zip(plan.studies, num_blocks, strict=True)]
    answers: list[dict[str, Any]] = ray.get(
        [
            task.remote(study.task, study.backbone.name, configs, config.execution, cpus)
            for study, configs in zip(plan.studies, probed, strict=True)
        ]
    )
    errors = sorted({answer["error"] for answer in answers if "error" in answer})
    if errors:
        raise EnvironmentUnusable("\n".join(errors))
    return {
        study.key: Demand(
            total_bytes=answer["total_bytes"],
            peaks=tuple((c.freeze_depth, c.batch_size, peak) for c, peak in zip(configs, answer["peaks"], strict=True)),
        )
        for study, configs, answer in zip(plan.studies, probed, answers, strict=True)
    }


def screen_studies(
    config: SweepConfig, plan: Plan, screen: Callable[..., dict[str, Any]] | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """What frozen features say of every backbone, on whichever nodes are free.

    A study that cannot be screened has no rows: it is a service to who reads the ranking, and ends no sweep.

    Args:
        screen: None is `orchestrator.workers.inspection.screen_study`.

    Returns:
        Rows of `SCREEN`, and sentences on what could not be said.
    """
    import ray

    if screen is None:
        from orchestrator.workers.inspection import screen_study as screen

    cpus = config.resources.cpus_per_trial
    task = ray.remote(num_cpus=cpus, num_gpus=trial_gpus(config.resources))(screen)
    num_runs = 1 + config.confirmation.seeds  # every evaluation asks for the same features
    waiting = [task.remote(study.task, study.backbone.name, cpus, config.execution, num_runs) for study in plan.studies]
    rows: list[dict[str, Any]] = []
    said: dict[str, list[str]] = {}
    for study, reference in zip(plan.studies, waiting, strict=True):
        try:
            answer: dict[str, Any] = ray.get(reference)
        except ray.exceptions.RayError as error:
            answer = {"error": (str(error).strip().splitlines() or [type(error).__name__])[-1]}
        for note in [*answer.get("notes", ()), *([answer["error"]] if "error" in answer else [])]:
            said.setdefault(one_line(note), []).append(study.key)
        named = {"task": study.task.name, "backbone": study.backbone.name}
        rows += [{**named, **score} for score in answer.get("scores", ())]
    return rows, [f"not screened: {note} ({', '.join(keys)})" for note, keys in said.items()]


def trial_resources(resources: Resources, demands: Mapping[str, Demand]) -> Callable[[dict[str, Any]], Any]:
    """What Ray Tune shall hold free for a trial, from what Tune calls its config (`RunRequest.to_tune`).

    Args:
        demands: by study, as `measure_demands` gives them.
    """
    from ray.tune import PlacementGroupFactory

    same = trial_gpus(resources)
    made: dict[float, Any] = {}  # Tune keeps a trial's to the end of the sweep: one for all that are alike

    def of_trial(config: dict[str, Any]) -> Any:
        demand = demands.get(config["study"])
        gpus = same if demand is None else demand.gpus(FinetuneConfig(**config["config"]))
        if gpus not in made:
            made[gpus] = PlacementGroupFactory([{"CPU": resources.cpus_per_trial, "GPU": gpus}])
        return made[gpus]

    return of_trial


def need(resources: Resources, gpus: float | None = None) -> Need:
    """What one trial holds; `gpus` is the least that one takes, where they differ, and None `trial_gpus`."""
    return Need(cpus=resources.cpus_per_trial, gpus=trial_gpus(resources) if gpus is None else gpus)


def slots(resources: Resources, gpus: float | None = None) -> int:
    """How many trials fit at a time, node by node, with every node that the cluster would start for them.

    Args:
        gpus: the least that a trial takes, where they differ; None is `trial_gpus`. Ray itself counts what
            is free, so that larger ones wait.

    Raises:
        EnvironmentUnusable: not one fits on any node.
    """
    import ray

    wanted, nodes, grown = need(resources, gpus), ray.nodes(), growth()
    fitting = capacity(nodes, grown, wanted)
    if not fitting:
        raise EnvironmentUnusable(
            f"no node can hold a trial of {wanted}: the largest {largest(nodes, grown)}; "
            "lower resources.cpus_per_trial or resources.gpus_per_trial"
        )
    return fitting if resources.max_concurrent == "auto" else min(fitting, resources.max_concurrent)
