"""What was found out by trying, kept in the cache for later runs and other processes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainables.data.cache import cache_dir

__all__ = ["note", "recall"]

_noted: dict[Path, dict[str, Any]] = {}


def recall(kind: str, about: Mapping[str, object]) -> dict[str, Any] | None:
    """What `note` was last told of `kind` and `about` on this machine; None where that is nothing."""
    path = _path(kind, about)
    if path in _noted:
        return _noted[path]
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["found"]
    except (OSError, ValueError, KeyError, TypeError):  # never noted, or damaged: it is found out again
        return None
    return found


def note(kind: str, about: Mapping[str, object], found: dict[str, Any]) -> None:
    """Remember `found`, in this process and in a small file of its own, whole or not at all.

    Args:
        kind: names the folder.
        about: all that decides what was found; of what JSON takes.
    """
    path = _path(kind, about)
    _noted[path] = found
    temporary = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # a full disk, or a cache that may only be read: others will find it out as well
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"about": about, "found": found}), encoding="utf-8")
        os.replace(temporary, path)


def _path(kind: str, about: Mapping[str, object]) -> Path:
    text = json.dumps(about, sort_keys=True)
    return cache_dir() / kind / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
