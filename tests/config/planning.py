"""Facts of a made-up backbone, and a sweep of it."""

from __future__ import annotations

from typing import Any

from orchestrator.config import SweepConfig, load_sweep

__all__ = ["FACTS", "sweep"]

FACTS: dict[str, Any] = {
    "timm/known": {
        "num_blocks": 3,
        "num_params": 10,
        "input_size": 64,
        "block_flops": [4_000, 2_000, 2_000],
        "boundary_elements": [400, 200, 10],
    }
}

SETTINGS = [
    "backbones=[timm/known, timm/known@random]",
    "tasks=[{name: a, image_size: 32, num_train: 100, num_val: 50, num_test: 10}]",
    "budget={trials: 8, random_trials: 2, max_epochs: 9, grace_epochs: 1, reduction_factor: 3}",
    "confirmation.seeds=3",
    "finetune.batch_size=10",
]


def sweep(*more: str) -> SweepConfig:
    return load_sweep("quickstart", [*SETTINGS, *more])
