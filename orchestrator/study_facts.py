"""What is known of a study before its first trial."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StudyFacts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """What building a study's backbone and reading its data revealed."""

    study: str
    num_blocks: int
    kind: str
    modality: str
    num_train: int
    num_val: int
    num_test: int
    num_classes: int
    """Classes, labels or regression targets."""

    num_outputs: int
    """Width of the head."""

    metric: str
    chance: float
    digest: str
    """sha256 of the encoded samples."""

    input: str
    """What a sample is to the backbone: ``32 px``, ``up to 128 tokens``, ``16000 Hz``."""

    weights_digest: str = ""
    """sha256 over the pretrained blocks, which every run begins with; empty of an untrained control, whose numbers
    are drawn anew and may differ in their last bits from processor to processor."""

    weights_revision: str | None = None
    """Commit of the checkpoint on the hub; None where it is from elsewhere."""

    checkpoint_bytes: int = 0
    """What a run keeps on disk at most while it is under way, with every block tuned."""

    model_bytes: int = 0
    """What a whole network keeps on disk."""

    notes: tuple[str, ...] = ()
    """What a person should know of the data."""
