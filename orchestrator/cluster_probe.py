"""Asks the head of a Ray cluster who it is: ``python -m orchestrator.cluster_probe HOST:PORT``.

In a process of its own, as Ray settles once per process whether it shows a token, and waits for minutes where
something else listens. Prints one JSON object: ``ray`` and ``python`` versions, or ``refused`` for want of the
right token, or ``error``.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

__all__ = ["probe"]

_TIMEOUT_S: Final = 5


def probe(address: str) -> dict[str, Any]:
    """What the head at `address` answers to this process."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError

    try:
        found = GcsClient(address=address).internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=_TIMEOUT_S)
        metadata = json.loads(found or "{}")
    except AuthenticationError:
        return {"refused": True}
    except Exception as error:  # Ray raises its own, gRPC's and plain ones
        return {"error": str(error)}
    return {"ray": metadata.get("ray_version", ""), "python": metadata.get("python_version", "")}


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1])))
