"""The cache of what leaves the frozen leading blocks: computed once, stored, and read ever after.

`cost` imports no torch, so that a plan can ask it; hence the rest is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.activations.cache import Activations, Chain, forget, open_activations

__all__ = ["Activations", "Chain", "forget", "open_activations"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("trainables.activations.cache"), name)
