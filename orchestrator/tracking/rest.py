"""MLflow's REST interface, as far as looking needs it: a command that only asks need not load mlflow."""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

__all__ = ["credentials", "get", "post"]

_MAX_BYTES: Final = 10_000_000


def credentials(uri: str) -> dict[str, str]:
    """Headers that let us in: user and password of the tracking URI, or what MLflow's own variables say."""
    parts = urlsplit(uri)
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {"Authorization": f"Bearer {token}"} if token else {}


def get(address: str, headers: Mapping[str, str], *, timeout_s: float) -> bytes:
    """The body of the answer.

    Raises:
        urllib.error.HTTPError: the answer is an error.
        OSError: there is none.
    """
    return _ask(urllib.request.Request(address), headers, timeout_s)


def post(address: str, headers: Mapping[str, str], question: Mapping[str, Any], *, timeout_s: float) -> Any:
    """What the answer to a JSON question holds. Raises as `get`, and ValueError where it is no JSON."""
    request = urllib.request.Request(address, data=json.dumps(question).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    return json.loads(_ask(request, headers, timeout_s))


def _ask(request: urllib.request.Request, headers: Mapping[str, str], timeout_s: float) -> bytes:
    for name, value in headers.items():
        request.add_unredirected_header(name, value)  # a redirection may lead to somebody else
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        body: bytes = answer.read(_MAX_BYTES)
        return body
