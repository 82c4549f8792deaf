"""Which share of a GPU each run takes, so that several small ones share it by memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.config import SweepConfig
from search_spaces.parameters import Choice, IntRange
from trainables.config import FinetuneConfig

__all__ = ["Demand", "probed_configs", "share"]

MARGIN: Final = 1.15
"""What is held free of what was measured: memory that is lost between blocks differs from run to run."""

SHARES: Final = (1 / 8, 1 / 4, 1 / 2)
"""Of a GPU, beside a whole one. Few, so that workers, which serve one share, find their next trial, and powers
of 2, so that what a trial gives back always fits another."""

_DEAREST: Final[Mapping[str, tuple[str, ...]]] = {
    "optimizer": ("adamw", "adam", "sgd"),
    "precision": ("fp32", "auto", "bf16"),
    "augmentation": ("crop_flip", "flip", "none"),
}
"""Options of what is searched, in the order of the memory they take."""

_MOST_DEPTHS: Final = 4
_MOST_SIZES: Final = 3


def share(num_bytes: int, total_bytes: int) -> float:
    """The smallest of `SHARES` of a GPU of `total_bytes` that holds a run of `num_bytes`, or 1."""
    return next((part for part in SHARES if MARGIN * num_bytes <= part * total_bytes), 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What the runs of one study were measured to take of a GPU."""

    total_bytes: int
    """Of the GPU that it was measured on."""

    peaks: tuple[tuple[int, int, int], ...]
    """First tuned block, batch size, bytes of a run."""

    @property
    def smallest_share(self) -> float:
        """Of any run of the study."""
        return min((share(num_bytes, self.total_bytes) for _, _, num_bytes in self.peaks), default=1.0)

    def gpus(self, config: FinetuneConfig) -> float:
        """Share of a GPU for a run, or 1 where nothing that was measured takes at least as much.

        A run takes no more than one that tunes as many blocks, or more, in batches as large, or larger.
        """
        start = config.tune_window[0] if config.tune_window else config.freeze_depth
        bounds = [size for first, batch, size in self.peaks if first <= start and batch >= config.batch_size]
        return share(min(bounds), self.total_bytes) if bounds else 1.0


def probed_configs(config: SweepConfig, backbone: str, num_blocks: int) -> list[FinetuneConfig]:
    """The runs to measure: at the shallowest depth and a few deeper ones, in a few sizes of batches up to the
    largest; of everything else that is searched, what takes the most memory."""
    fixed = config.finetune
    windows = config.space.windows(num_blocks, freeze_depth=fixed.freeze_depth, tune_window=fixed.tune_window)
    searched: dict[str, Any] = {name: _dearest(config, name) for name in _DEAREST if name in config.space.names}
    if "stay_near" in config.space.names:
        searched["stay_near"] = 1.0
    return [
        config.finetune_config(
            backbone,
            {**searched, "tune_window": None, "freeze_depth": start, "batch_size": size},
            seed=0,
        )
        for start in _spread(sorted({start for start, _ in windows}), _MOST_DEPTHS)
        for size in _spread(_batch_sizes(config, num_blocks), _MOST_SIZES)
    ]


def _dearest(config: SweepConfig, name: str) -> str:
    parameter = config.space.get(name)
    values = parameter.choice if isinstance(parameter, Choice) else _DEAREST[name]
    return next(option for option in _DEAREST[name] if option in values)


def _batch_sizes(config: SweepConfig, num_blocks: int) -> list[int]:
    parameter = config.space.get("batch_size")
    if isinstance(parameter, Choice | IntRange):
        return sorted({int(value) for value in parameter.values(num_blocks)})
    return [config.finetune.batch_size]


def _spread(values: Sequence[int], most: int) -> list[int]:
    """At most so many of some ascending values, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]
