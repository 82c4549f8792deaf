"""Backbones that other packages bring, found by the entry point group ``orchestrator.backbones``.

An entry point's name is the source, the part of a backbone's name before the slash; its object takes a
`BackboneSpec` and returns a `Backbone`. In the other package's ``pyproject.toml``::

    [project.entry-points."orchestrator.backbones"]
    resemblyzer = "my_package:build"
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from trainables.errors import InvalidConfig

__all__ = ["GROUP", "load_plugin", "plugin_sources"]

GROUP: Final = "orchestrator.backbones"


def plugin_sources() -> tuple[str, ...]:
    """Names of the sources that installed packages bring, sorted. Imports none of them."""
    return tuple(sorted(_entry_points()))


def load_plugin(source: str) -> Callable[..., Any]:
    """Import the builder of `source`, one of `plugin_sources`.

    Raises:
        InvalidConfig: it cannot be imported.
    """
    entry = _entry_points()[source]
    try:
        builder: Callable[..., Any] = entry.load()
    except Exception as error:  # whatever a stranger's module raises while it is imported
        raise InvalidConfig(
            f"backbone source {source!r}: the entry point {entry.value!r} cannot be loaded: {error!r}"
        ) from error
    return builder


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
