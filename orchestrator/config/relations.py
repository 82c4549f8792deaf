"""Rules of a sweep file between several values. What is missing or broken is left to its own rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.config.rules import Relation, Report
from orchestrator.config.yaml_source import Keys
from search_spaces import Choice, IntRange, SearchSpace
from search_spaces.errors import ABSENT
from search_spaces.searchable import FREEZE_DEPTH
from trainables.catalog import lookup
from trainables.config import FinetuneConfig

__all__ = ["at_most", "batch_fits", "depth_exists", "searched_or_fixed"]


def at_most(small: str, large: str) -> Relation:
    """The relation `small` <= `large` within one section."""

    def relation(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
        if small in values and large in values and values[small] > values[large]:
            # Whichever was written, the problem is shown where the smaller one would be.
            report.add((*keys, small), f"must be <= {large} ({values[large]})", values[small])

    return relation


def searched_or_fixed(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    space = values.get("space")
    for name in values.get("finetune", {}):
        if isinstance(space, SearchSpace) and name in space.names:
            hint = f"remove it here, or take it out of the space: {{base: ..., {name}: null}}"
            report.add((*keys, "finetune", name), "is searched by the space, so it cannot be fixed", hint=hint)


def batch_fits(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """A batch larger than the training split would be one step per epoch that nobody asked for."""
    if report.is_broken((*keys, "finetune", "batch_size")):
        return
    for where, size in _batch_sizes(values):
        for task in values.get("tasks", ()):
            num_train = None if task is ABSENT else task.get("num_train")
            if num_train is not None and size > num_train:
                rule = f"must be <= num_train ({num_train}) of task {task.get('name', '?')}"
                report.add((*keys, *where), rule, size)


def _batch_sizes(values: Mapping[str, Any]) -> Iterator[tuple[Keys, int]]:
    space = values.get("space")
    searched = space.get("batch_size") if isinstance(space, SearchSpace) else None
    if isinstance(searched, IntRange) and isinstance(searched.high, int):
        yield ("space", "batch_size", "high"), searched.high
    elif isinstance(searched, Choice):
        for index, size in enumerate(searched.choice):
            yield ("space", "batch_size", "choice", index), int(size)
    elif searched is None and "finetune" in values:
        default = FinetuneConfig.__dataclass_fields__["batch_size"].default
        yield ("finetune", "batch_size"), values["finetune"].get("batch_size", default)


def depth_exists(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """No depth beyond the blocks of a backbone. What is not in the catalogue is seen when it is built."""
    space = values.get("space")
    fixed = values.get("finetune", {}).get(FREEZE_DEPTH, 0)
    for backbone in values.get("backbones", ()):
        num_blocks = None if backbone is ABSENT else lookup(backbone).num_blocks
        if num_blocks is None:
            continue
        for broken in space.broken_for(num_blocks) if isinstance(space, SearchSpace) else ():
            report.add((*keys, "space", *broken.keys), f"{broken.rule} of {backbone}", broken.value)
        if fixed > num_blocks:
            rule = f"must be <= num_blocks ({num_blocks}) of {backbone}"
            report.add((*keys, "finetune", FREEZE_DEPTH), rule, fixed)
