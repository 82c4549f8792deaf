"""What MLflow is told of a backbone's tuned network. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainables.exported.facts import ModelFacts

__all__ = ["ModelInfo"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """A network that predicts by itself, and what people should know of it."""

    task: str
    backbone: str
    number: int
    """Of the confirmation that trained it."""

    folder: Path
    """As `trainables.exported.save_model` left it."""

    facts: ModelFacts
    card: str
    """Markdown."""
