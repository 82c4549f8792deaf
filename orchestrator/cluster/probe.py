"""Asks the head of a Ray cluster who it is: ``python -m orchestrator.cluster.probe HOST:PORT``.

In a process of its own, as Ray settles once per process whether it shows a token, and waits for minutes where
something else listens. Prints one JSON object: ``ray`` and ``python`` versions, or ``refused`` for want of the
right token, or ``error``.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any, Final

__all__ = ["PATIENCE_S", "probe"]

PATIENCE_S: Final = 10
"""For the head to answer. Ray's own timeout does not hold where something else listens."""


def probe(address: str) -> dict[str, Any]:
    """What the head at `address` answers to this process."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError

    signal.alarm(PATIENCE_S)  # from here on, as a busy machine may take long to load Ray; it ends the process
    try:
        found = GcsClient(address=address).internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=PATIENCE_S)
        metadata = json.loads(found or "{}")
    except AuthenticationError:
        return {"refused": True}
    except Exception as error:  # Ray raises its own, gRPC's and plain ones
        return {"error": str(error)}
    return {"ray": metadata.get("ray_version", ""), "python": metadata.get("python_version", "")}


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1])))
