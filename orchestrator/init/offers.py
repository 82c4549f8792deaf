"""Which backbones a first sweep offers to rank: the usual ones, and what is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.availability import is_cached, unobtainable
from trainables.catalog import known_architectures, lookup

__all__ = ["DEFAULT_BACKBONES", "Offer", "offers"]

DEFAULT_BACKBONES: Final = {
    "image": (
        "timm/tf_efficientnet_lite0",
        "timm/tf_efficientnet_lite1",
        "torchvision/mobilenet_v3_small",
        "timm/tf_efficientnet_lite0@random",
    ),
    "text": (
        "hf/sentence-transformers/all-MiniLM-L6-v2@pypi",
        "hf/distilbert/distilbert-base-uncased",
        "hf/sentence-transformers/all-MiniLM-L6-v2@random",
    ),
    "audio": ("hf/facebook/wav2vec2-base", "hf/facebook/wav2vec2-base@random"),
}
"""Small ones, with an untrained control each."""

_MOST_FOUND: Final = 2
"""Backbones beside the usual ones that are offered because their weights are on this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A backbone with what stands in its way here."""

    name: str
    why_not: str | None = None
    """Why its checkpoint cannot be had; None where nothing is known to be missing."""


def offers(modality: str, asked: Sequence[str] = ()) -> tuple[Offer, ...]:
    """The backbones `asked` for, else the usual ones of a modality with what else is on this machine, and what is
    missing for each.

    Raises:
        UnknownName: one of those asked for is no backbone.
    """
    names = list(asked or DEFAULT_BACKBONES[modality])
    if not asked:
        # Before the control, which stays last.
        names[-1:-1] = _on_this_machine(modality, names)
    return tuple(Offer(name=name, why_not=unobtainable(lookup(name))) for name in names)


def _on_this_machine(modality: str, usual: Sequence[str]) -> list[str]:
    """The smallest other catalogued backbones whose weights are here."""
    known = {(spec.source, spec.architecture) for spec in map(lookup, usual)}
    here = [
        (sum(spec.block_flops or ()), name)
        for name in known_architectures()
        for spec in [lookup(name)]
        if spec.modality == modality and (spec.source, spec.architecture) not in known and is_cached(spec)
    ]
    return [name for _, name in sorted(here)[:_MOST_FOUND]]
