"""What a node of a cluster says of itself. Sent to it as source: a node that lacks this package must answer too.

Only the standard library may be imported at the top.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Question", "look_around"]

_PACKAGES: Final = ("orchestrator", "trainables", "search_spaces")
_SEEN_WITHIN_S: Final = 5.0
"""A network file system may show another machine's new file a little later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a node is asked."""

    distributions: tuple[str, ...]
    storage: str
    """Folder that every node must see."""

    nonce: str
    """Name and content of a file in it, which the driver made."""

    data: tuple[str, ...]
    """Absolute paths of files and folders that trials read."""

    backbones: tuple[str, ...]


def look_around(question: Question, node: str) -> dict[str, Any]:
    """Answer for the node of this name.

    Returns:
        ``versions`` by distribution, with ``python`` and ``code``, a digest of our own source; ``storage``, empty or
        what is wrong with it; ``missing`` data; ``unobtainable`` weights, each with the reason; ``time``, seconds
        since 1970; ``host``; and ``left``, what `node` wrote to the storage.
    """
    versions = {name: _version(name) for name in question.distributions}
    return {
        "host": socket.gethostname(),
        "versions": versions | {"python": platform.python_version(), "code": _code_digest()},
        "storage": _storage(question, node),
        "missing": [path for path in question.data if not os.path.exists(path)],
        "unobtainable": _unobtainable(question.backbones),
        "time": time.time(),
    }


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _code_digest() -> str:
    """Of every module of this project, as it would be imported; ``not installed`` without it."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            return "not installed"
        root = Path(found.origin).parent
        for file in sorted(root.rglob("*.py")):
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _storage(question: Question, node: str) -> str:
    """Read what the driver wrote, and write what it will look for."""
    folder = Path(question.storage)
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while True:
        try:
            seen = (folder / question.nonce).read_text(encoding="utf-8")
            break
        except OSError as error:
            if time.monotonic() > deadline:
                there = "is there, without what the driver wrote" if folder.is_dir() else "is not there"
                return f"{there} ({error.strerror})"
            time.sleep(0.2)
    if seen != question.nonce:
        return "holds something else than what the driver wrote"
    try:
        (folder / f"{question.nonce}.{node}").write_text(question.nonce, encoding="utf-8")
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return ""


def _unobtainable(backbones: Sequence[str]) -> Mapping[str, str]:
    if importlib.util.find_spec("orchestrator") is None:
        return {}
    from orchestrator.availability import unobtainable
    from trainables.catalog import lookup

    reasons = {name: unobtainable(lookup(name)) for name in backbones}
    return {name: reason for name, reason in reasons.items() if reason is not None}
