"""What is known of one ``model_type`` of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainables.backbones.hf.checkpoint import Checkpoint
from trainables.backbones.hf.part import Layout
from trainables.modality import Modality
from trainables.preprocessing import Preprocessing

__all__ = ["Family"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How models of one ``model_type`` are loaded, cut and fed."""

    modality: Modality

    model: str
    """Class of transformers whose output the chain reproduces."""

    cut: Callable[[Any, Any], Layout]
    """Of the model and its processor (image processor, tokenizer or feature extractor). It may put modules
    for a head into the model where transformers has none."""

    preprocess: Callable[[Checkpoint, Any, Any], Preprocessing]
    """Of where the files are, the model's configuration and the processor."""
