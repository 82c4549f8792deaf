"""How much of a cluster is in use, as Ray accounts for it: what trials hold, not what they burn."""

from __future__ import annotations

from orchestrator.watcher import Watcher

__all__ = ["Use"]


class Use:
    """Tells a watcher what is held of the connected cluster, at each look."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def look(self) -> None:
        import ray

        total, free = ray.cluster_resources(), ray.available_resources()
        held = {name: (total[name] - free.get(name, 0.0), total[name]) for name in ("CPU", "GPU") if total.get(name)}
        self._watcher.held(held, num_nodes=sum(bool(node["Alive"]) for node in ray.nodes()))
