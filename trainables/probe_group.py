"""Which linear probes can be trained together, by their configurations alone (no torch)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from trainables.config import FinetuneConfig

__all__ = ["MAX_TOGETHER", "MIN_TOGETHER", "is_probe", "probe_group"]

MIN_TOGETHER: Final = 8
"""Fewest members per worker that may be asked for one of them. Each of these workers trains the whole group:
eight probes together cost as much as four alone, two of them twice what one does (`benchmarks/README.md`)."""

MAX_TOGETHER: Final = 32
"""Most members of a group. Beyond it another member saves little, and a worker that is asked for a single
one trains all."""


def is_probe(config: FinetuneConfig, num_blocks: int) -> bool:
    """Whether nothing but the head of a backbone with `num_blocks` blocks is trained, on fixed features."""
    return config.freeze_depth == num_blocks and config.tune_window is None and config.augmentation == "none"


def probe_group(config: FinetuneConfig) -> Hashable:
    """Equal of linear probes that can be trained together: all that members share.

    They may differ in seed, learning rates, weight decay, schedule and warm-up, and in what a probe does
    not use. Whether a configuration is a probe is for `is_probe` to say.
    """
    return (
        config.backbone,
        config.freeze_depth,
        config.batch_size,
        config.max_epochs,
        config.optimizer,
        config.class_weight,
        config.precision,
        config.head_init,
    )
